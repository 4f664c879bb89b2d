"""Retry transactions that a deadlock or serialization failure aborted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.domain.escaping import escape_unprintable

T = TypeVar("T")

logger = logging.getLogger("weavegraph_checkpoints")

MAX_RETRIES = 3
BASE_DELAY_SECONDS = 0.02

# Deadlock and serialization failure; on MariaDB deadlock, and a row that changed after the
# transaction's snapshot.
_SQLSTATES = {"40P01", "40001"}
_MARIADB_CODES = {1213, 1020}


def run(connection: BaseDatabaseWrapper, operation: Callable[[], T]) -> T:
    """Run a transaction, and retry it up to ``MAX_RETRIES`` times.

    Inside a caller's ``atomic()``, or with autocommit off, the error is raised instead.
    """
    retries = MAX_RETRIES if connection.get_autocommit() else 0
    for attempt in range(retries):
        try:
            return operation()
        except OperationalError as error:
            if not is_transient(error):
                raise
            message = escape_unprintable(str(error))
            logger.warning("Retrying a transaction on %r: %s", connection.alias, message)
            time.sleep(BASE_DELAY_SECONDS * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
    return operation()


def run_batch(connection: BaseDatabaseWrapper, work: Callable[[], T], *, has_fair_locks: bool) -> T:
    """Run ``work``, one batch of many, in a transaction with retries.

    Without ``has_fair_locks``, sleep half as long afterwards, outside the transaction: writers
    that poll for the lock would hardly ever get it between two batches.
    """

    def run_in_transaction() -> T:
        with transaction.atomic(connection.alias):
            return work()

    started = time.monotonic()
    result = run(connection, run_in_transaction)
    if not has_fair_locks and not connection.in_atomic_block:
        time.sleep((time.monotonic() - started) / 2)
    return result


def is_transient(error: OperationalError) -> bool:
    """Return whether the transaction may succeed if it is retried."""
    cause = error.__cause__
    sqlstate = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if sqlstate is not None:
        return sqlstate in _SQLSTATES
    return bool(error.args) and error.args[0] in _MARIADB_CODES
