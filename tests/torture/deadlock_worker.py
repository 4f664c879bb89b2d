"""A process that calls the service on two sessions and counts the errors."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import nullcontext

import django

django.setup()

from django.db import Error, OperationalError, transaction  # noqa: E402

from tests.service.random_calls import RandomCalls  # noqa: E402
from tests.torture.journal import DEADLOCK  # noqa: E402
from weavegraph_checkpoints.retries import is_transient  # noqa: E402

SESSIONS = ("a", "b")
AUTOCOMMIT, IN_ATOMIC = "in autocommit", "in atomic()"


class RetryCounter(logging.Handler):
    """Count the retries that the app logs."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self.counts = counts

    def emit(self, record: logging.LogRecord) -> None:
        self.counts["retries"] += 1


def make_calls(seed: str, calls: int, where: str) -> Counter[str]:
    """Make ``calls`` random calls; return the number of retries and of errors of each kind."""
    counts: Counter[str] = Counter()
    handler, logger = RetryCounter(counts), logging.getLogger("weavegraph_checkpoints")
    logger.addHandler(handler)
    random_calls = RandomCalls(
        seed, nullcontext if where == AUTOCOMMIT else transaction.atomic, sessions=SESSIONS
    )
    for _ in range(calls):
        try:
            counts.update(kind.__name__ for kind in random_calls.run(1))
        except Error as error:
            is_deadlock = isinstance(error, OperationalError) and is_transient(error)
            kind = f"{DEADLOCK} {where}" if is_deadlock else f"{type(error).__name__}: {error}"
            counts[kind] += 1
    logger.removeHandler(handler)
    return counts
