"""Calls on one node of a cluster, in the middle of which another node writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections


@contextmanager
def interrupted_once(alias: str, start: str, action: Callable[[], object]) -> Iterator[None]:
    """Run ``action`` after the first statement on ``alias`` that begins with ``start``."""
    left = [action]

    def run(execute: Any, sql: str, *args: Any) -> Any:
        result = execute(sql, *args)
        if left and sql.startswith(start):
            left.pop()()
        return result

    with connections[alias].execute_wrapper(run):
        yield
    assert not left, f"no statement began with {start}"
