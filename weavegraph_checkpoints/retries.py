"""Retry transactions that a deadlock or serialization failure aborted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints import telemetry
from weavegraph_checkpoints.domain.escaping import escape_unprintable

T = TypeVar("T")

logger = logging.getLogger("weavegraph_checkpoints.retries")

MAX_RETRIES = 3
BASE_DELAY_SECONDS = 0.02

# Deadlock and serialization failure; on MariaDB deadlock, which is also what a conflict between
# the nodes of a Galera cluster raises, at any statement and at COMMIT; a row that changed after the
# transaction's snapshot; and a node of a cluster that refuses statements until it has joined.
_SQLSTATES = {"40P01", "40001"}
_MARIADB_CODES = {1213, 1020, 1047}


def run(
    connection: BaseDatabaseWrapper, operation: Callable[[], T], *, session_id: str | None = None
) -> T:
    """Run a transaction, and retry it up to ``MAX_RETRIES`` times.

    Inside a caller's ``atomic()``, or with autocommit off, the error is raised instead. The log
    record of each retry names the session, if ``session_id`` is given.
    """
    retries = MAX_RETRIES if connection.get_autocommit() else 0
    for attempt in range(retries):
        try:
            return operation()
        except OperationalError as error:
            if not is_transient(error):
                raise
            telemetry.count_retry(connection)
            _log_retry(connection, error, attempt + 1, session_id)
            time.sleep(BASE_DELAY_SECONDS * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311
    return operation()


def run_batch(
    connection: BaseDatabaseWrapper,
    work: Callable[[], T],
    *,
    has_fair_locks: bool,
    session_id: str | None = None,
) -> T:
    """Run ``work``, one batch of many, in a transaction with retries.

    Without ``has_fair_locks``, sleep half as long afterwards, outside the transaction: writers
    that poll for the lock would hardly ever get it between two batches.
    """

    def run_in_transaction() -> T:
        with transaction.atomic(connection.alias):
            return work()

    started = time.monotonic()
    result = run(connection, run_in_transaction, session_id=session_id)
    if not has_fair_locks and not connection.in_atomic_block:
        time.sleep((time.monotonic() - started) / 2)
    return result


def is_transient(error: OperationalError) -> bool:
    """Return whether the transaction may succeed if it is retried."""
    code = _get_code(error)
    return code in _SQLSTATES or code in _MARIADB_CODES


def _get_code(error: OperationalError) -> object:
    """Return the SQLSTATE of an error, or else its first argument: on MariaDB a number."""
    cause = error.__cause__
    sqlstate = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if sqlstate is not None:
        return sqlstate
    return error.args[0] if error.args else None


def _log_retry(
    connection: BaseDatabaseWrapper, error: OperationalError, attempt: int, session_id: str | None
) -> None:
    message = escape_unprintable(str(error))
    extra = {
        "database": connection.alias,
        "session_id": session_id,
        "attempt": attempt,
        "error_code": _get_code(error),
    }
    if session_id is None:
        logger.warning("Retrying a transaction on %r: %s", connection.alias, message, extra=extra)
    else:
        logger.warning(
            "Retrying a transaction of session %r on %r: %s",
            session_id,
            connection.alias,
            message,
            extra=extra,
        )
