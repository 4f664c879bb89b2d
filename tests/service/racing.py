"""Runs one action in several threads at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, connections

from weavegraph_checkpoints import ConcurrencyConflict
from weavegraph_checkpoints.models import Session, Step

STUCK_AFTER_SECONDS_SECONDS = 60


def race(racers: int, action: Callable[[int], Any]) -> list[Any]:
    """Call ``action(0)``, ``action(1)``… each in a thread; return results or exceptions."""
    results: list[Any] = [TimeoutError("the racer did not arrive")] * racers
    start = threading.Barrier(racers)

    def run(racer: int) -> None:
        try:
            start.wait(STUCK_AFTER_SECONDS_SECONDS)
            results[racer] = action(racer)
        except Exception as error:
            results[racer] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(racer,), daemon=True) for racer in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STUCK_AFTER_SECONDS_SECONDS)
    return results


@contextmanager
def alias_like(using: str, name: str, **changes: Any) -> Iterator[str]:
    """Add another alias of a database, with other settings (``OPTIONS`` are merged)."""
    settings = connections.settings[using]
    options = settings["OPTIONS"] | changes.pop("OPTIONS", {})
    connections.settings[name] = settings | changes | {"OPTIONS": options}
    try:
        yield name
    finally:
        connections[name].close()
        del connections[name], connections.settings[name]


def assert_one_won(
    results: list[Any], session_id: str, expected: int, *, step: int, stored: int, using: str
) -> int:
    """Check that one racer saved and the others left no trace; return the winner's number.

    ``stored`` is the number of steps of the session afterwards; each was saved once.
    """
    winners = [racer for racer, result in enumerate(results) if result is None]
    assert len(winners) == 1, results
    for result in results:
        if result is not None:
            assert type(result) is ConcurrencyConflict, results
            assert (result.session_id, result.expected) == (session_id, expected)
            assert result.actual == step
    row = Session.objects.using(using).get(id=session_id)
    assert (row.last_step, row.revision) == (step, stored)
    assert Step.objects.using(using).filter(session_id=session_id).count() == stored
    return winners[0]


_WAITING = {
    "postgresql": (
        "SELECT COUNT(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ),
    "mysql": (
        "SELECT COUNT(*) FROM information_schema.innodb_trx"
        " JOIN information_schema.processlist ON processlist.id = trx_mysql_thread_id"
        " WHERE trx_state = 'LOCK WAIT' AND db = DATABASE()"
    ),
}


def wait_for_waiters(count: int) -> None:
    """Wait until so many transactions wait for a lock of another.

    Ask seldom: MariaDB refreshes what it tells when nobody asked for 0.1 seconds.
    """
    deadline = time.monotonic() + STUCK_AFTER_SECONDS_SECONDS
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(_WAITING[connection.vendor])
            if cursor.fetchone()[0] >= count:
                return
        time.sleep(0.15)
    raise TimeoutError(f"there are no {count} waiting for a lock")
