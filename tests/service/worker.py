"""What runs in a process of its own: racers, and a saver that will be killed."""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

import django

django.setup()

from django.db import connections, transaction  # noqa: E402

from tests.strategies import a_checkpoint  # noqa: E402
from weavegraph_checkpoints import Message, VersionedState  # noqa: E402
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer  # noqa: E402

_barrier: Any = None


def begin(barrier: Any) -> None:
    """Keep what all racers wait for before each race."""
    global _barrier
    _barrier = barrier


def save(session_id: str, step: int, expected: int, *, inside: bool) -> str:
    """Race for a step, inside a transaction of the caller or not; return who this is."""
    me = str(os.getpid())
    state = VersionedState.new(messages=[Message.user(me)])
    checkpointer = DjangoCheckpointer()
    connections["default"].ensure_connection()
    _barrier.wait(60)
    checkpoint = a_checkpoint(session_id, step, state=state)
    if inside:
        with transaction.atomic():
            checkpointer.save_with_concurrency_check(checkpoint, expected)
    else:
        checkpointer.save_with_concurrency_check(checkpoint, expected)
    return me


def save_until_killed(session_id: str) -> None:
    """Save step after step, and acknowledge each on the standard output."""
    checkpointer = DjangoCheckpointer()
    for step in itertools.count(1):
        messages = [Message.user(f"{step}: {'x' * 1000}")] * 20
        state = VersionedState.new(messages=messages)
        checkpointer.save_with_concurrency_check(
            a_checkpoint(session_id, step, state=state), step - 1
        )
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    save_until_killed(sys.argv[1])
