"""Call the service in this process, and record each call in a journal as the writers do."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import Error

from tests.torture.content import build_checkpoint
from tests.torture.journal import DONE, FAILED, Call, Journal
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


class CallRecorder:
    """Call the service and record each call in ``journal``."""

    def __init__(self, using: str = "default") -> None:
        self.journal = Journal()
        self.use(using)

    def use(self, using: str) -> None:
        self.checkpointer = DjangoCheckpointer(using)

    def call(self, action: Callable[[], object], kind: str, name: str, **details: object) -> Call:
        call = Call(kind, name, begun=time.monotonic(), **details)  # type: ignore[arg-type]
        self.journal.begin(call)
        try:
            result = action()
        except Error as error:
            self.journal.end(call, FAILED, type(error).__name__, time.monotonic())
            raise
        self.journal.end(call, DONE, result, time.monotonic())
        return call

    def save(self, name: str, step: int, token: str) -> Call:
        saved = build_checkpoint(name, step, token)
        return self.call(
            lambda: self.checkpointer.save(saved), "save", name, step=step, token=token
        )

    def delete(self, name: str) -> Call:
        return self.call(lambda: self.checkpointer.delete_session(name), "delete", name)

    def fork(self, name: str, target: str) -> Call:
        def fork() -> tuple[int, int]:
            return self.checkpointer.fork_session(name, target).step, self.count(target)

        return self.call(fork, "fork", name, target=target)

    def count(self, name: str) -> int:
        return self.checkpointer.query_steps(name).page_info.total_count
