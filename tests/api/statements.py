"""What a call asks of the tables of the app."""

from __future__ import annotations

from typing import Any

from tests.service.statements import captured


def of_the_app(call: Any) -> tuple[Any, list[str]]:
    """Return what a call answers, and its statements on the tables of the app."""
    with captured() as found:
        answer = call()
    return answer, [sql for sql in found.statements if "weavegraph_checkpoints_s" in sql]
