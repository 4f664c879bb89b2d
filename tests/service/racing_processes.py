"""Lets several processes save the same step after the same one, at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.forkserver import forkserver_context
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

RACERS = 8
STUCK_AFTER_SECONDS_SECONDS = 90


@contextmanager
def racing_processes() -> Iterator[ProcessPoolExecutor]:
    """Start processes that share nothing with this one but the database."""
    from tests.service import worker

    context = forkserver_context()
    with ProcessPoolExecutor(
        RACERS, mp_context=context, initializer=worker.begin, initargs=(context.Barrier(RACERS),)
    ) as pool:
        yield pool


def race(
    pool: ProcessPoolExecutor, session_id: str, step: int, expected: int, *, inside: bool
) -> list[Any]:
    """Let every process save; return for each the exception, or None for the winner."""
    from tests.service import worker

    futures = [
        pool.submit(worker.save, session_id, step, expected, inside=inside) for _ in range(RACERS)
    ]
    errors = [future.exception(STUCK_AFTER_SECONDS_SECONDS) for future in futures]
    winners = [
        future.result() for future, error in zip(futures, errors, strict=True) if error is None
    ]
    latest = DjangoCheckpointer().load_latest(session_id)
    assert latest is not None
    assert [message.content for message in latest.state.messages.items] == winners
    return errors
