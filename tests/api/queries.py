"""The queries of a call on the tables of the app."""

from __future__ import annotations

import re
from typing import Any

from tests.service.statements import captured

_TABLES = re.compile("weavegraph_checkpoints_(label|session|step)")


def capture_app_queries(call: Any) -> tuple[Any, list[str]]:
    """Return the response of a call, and its queries on sessions, steps and labels."""
    with captured() as found:
        answer = call()
    return answer, [sql for sql in found.statements if _TABLES.search(sql)]
