"""Threads with a connection of their own, whose transactions a test holds open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from typing import Self

from django.db import IntegrityError, OperationalError, connection, connections, transaction

STUCK_AFTER_SECONDS = 60.0
A_MOMENT = 0.025

Write = Callable[[], object]


class _Undo(Exception):
    pass


class Actor:
    """Runs writes one after another, in one transaction that it keeps open."""

    def __init__(self, isolation: str | None = None) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._atomic: transaction.Atomic | None = None
        self._isolation = isolation
        self.failure: OperationalError | IntegrityError | None = None
        """Why the last transaction is no more: a deadlock, or a step that another has written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.submit(self._leave, _Undo()).result(STUCK_AFTER_SECONDS)
        self._thread.submit(connections.close_all).result(STUCK_AFTER_SECONDS)
        self._thread.shutdown()

    def start(self, write: Write) -> Future[None]:
        """Begin a write in the actor's transaction; it may wait for another's lock."""
        return self._thread.submit(self._write, write)

    def do(self, write: Write) -> None:
        """Do a write in the actor's transaction, and leave the transaction open."""
        self.start(write).result(STUCK_AFTER_SECONDS)

    def commit(self) -> None:
        self._thread.submit(self._leave).result(STUCK_AFTER_SECONDS)

    def roll_back(self) -> None:
        self._thread.submit(self._leave, _Undo()).result(STUCK_AFTER_SECONDS)

    def _write(self, write: Write) -> None:
        try:
            if self._atomic is None:
                self._begin()
            write()
        except (IntegrityError, OperationalError) as failure:
            self.failure = failure
            self._leave(failure)

    def _begin(self) -> None:
        self.failure = None
        if self._isolation is not None:
            with connection.cursor() as cursor:
                cursor.execute(_SET_ISOLATION[connection.vendor].format(self._isolation))
        atomic = transaction.atomic()
        atomic.__enter__()
        self._atomic = atomic

    def _leave(self, error: Exception | None = None) -> None:
        atomic, self._atomic = self._atomic, None
        if atomic is not None:
            atomic.__exit__(None if error is None else type(error), error, None)


_SET_ISOLATION = {
    "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL {}",
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {}",
}


def waits(future: Future[None]) -> bool:
    """Say whether a write is still not done after a moment."""
    try:
        future.result(A_MOMENT)
    except NotDone:
        return True
    return False
