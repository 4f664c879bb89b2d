"""Random calls of the service over a few sessions, for concurrent threads and processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Checkpoint, CheckpointerError, Message, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

CallContext = Callable[[], AbstractContextManager[Any]]


def build_checkpoint(session_id: str, step: int, racer: int) -> Checkpoint:
    state = VersionedState.new(messages=[Message.user(f"racer {racer}")], extra={"racer": racer})
    return a_checkpoint(session_id, step, state=state)


SESSIONS = ("a", "b", "c")


class RandomCalls:
    """Calls that save, save with a concurrency check, fork, delete or load a random session."""

    def __init__(
        self,
        seed: object,
        call_context: CallContext,
        using: str = "default",
        sessions: Sequence[str] = SESSIONS,
    ) -> None:
        self.random = random.Random(f"{seed}")
        self.call_context = call_context
        self.sessions = sessions
        self.using = using
        self.checkpointer = DjangoCheckpointer(using)
        self.calls: list[Callable[[str], Any]] = [
            *[self.save] * 5,
            *[self.save_checked] * 3,
            *[self.fork] * 2,
            self.checkpointer.delete_session,
            self.checkpointer.load_latest,
            self.checkpointer.query_steps,
        ]

    def save(self, session_id: str) -> None:
        self.checkpointer.save(build_checkpoint(session_id, self.random.randrange(12), 0))

    def save_checked(self, session_id: str) -> None:
        latest = self.checkpointer.load_latest(session_id)
        last = latest.step if latest else 0
        self.checkpointer.save_with_concurrency_check(
            build_checkpoint(session_id, last + 1, 1), last
        )

    def fork(self, session_id: str) -> None:
        self.checkpointer.fork_session(session_id, self.random.choice([*self.sessions, "f1", "f2"]))

    def run(self, calls: int) -> list[type[CheckpointerError]]:
        """Make ``calls`` calls; return the types of the errors that were raised."""
        errors = []
        for _ in range(calls):
            call, session_id = self.random.choice(self.calls), self.random.choice(self.sessions)
            try:
                with self.call_context():
                    call(session_id)
            except CheckpointerError as error:
                errors.append(type(error))
        return errors
