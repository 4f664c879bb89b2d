"""The queries of a call on the tables of the app."""

from __future__ import annotations

from typing import Any

from tests.service.statements import captured


def capture_app_queries(call: Any) -> tuple[Any, list[str]]:
    """Return the response of a call, and its queries on the tables of the app."""
    with captured() as found:
        answer = call()
    return answer, [sql for sql in found.statements if "weavegraph_checkpoints_" in sql]
