"""Compare the stored rows with the journal of the writers."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Collection, Iterator

from django.db import connections

from tests.builders import orphans, wrong_snapshots
from tests.scratch import query
from tests.torture.content import build_checkpoint, get_token
from tests.torture.journal import (
    DEADLOCK,
    DONE,
    FAILED,
    LINGERING_SECONDS,
    UNKNOWN,
    Call,
    Journal,
    is_superseded,
)
from tests.torture.labels import find_label_faults
from tests.torture.writer import KEEP_LAST
from weavegraph_checkpoints import Checkpoint, SerializationError, StepQuery
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.health import verify
from weavegraph_checkpoints.models import Session, Step

PAGE = 500

Stored = dict[int, Checkpoint]


class RevisionMonitor:
    """Check repeatedly that no revision of a session ever decreases."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.seen: dict[object, int] = {}

    def find_faults(self, *, close: bool = True) -> list[str]:
        """Return the revisions that decreased since the last call; close the connection."""
        rows = Session.objects.using(self.using).values_list("id", "created_at", "revision")
        found = []
        for session_id, created_at, revision in rows:
            before = self.seen.get((session_id, created_at), 0)
            if revision < before:
                found.append(f"{session_id}: the revision went from {before} to {revision}")
            self.seen[session_id, created_at] = revision
        if close:
            connections[self.using].close()
        return found


_COUNT_OTHER_CONNECTIONS = {
    "postgresql": (
        "SELECT COUNT(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ),
    "mysql": (
        "SELECT COUNT(*) FROM information_schema.processlist"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    ),
}


def wait_for_disconnects(using: str) -> None:
    """Wait until the server has closed the connections of all writers."""
    connection = connections[using]
    deadline = time.monotonic() + LINGERING_SECONDS
    while (
        connection.vendor in _COUNT_OTHER_CONNECTIONS
        and query(connection, _COUNT_OTHER_CONNECTIONS[connection.vendor])[0][0]
    ):
        assert time.monotonic() < deadline, "other connections are still open"
        time.sleep(0.05)


def count_deadlocks(journal: Journal, using: str) -> int:
    """Return the number of calls that failed or were retried because of a deadlock.

    Only MariaDB may have any: if the writer that creates a session is killed, the writers that
    wait for it each hold the gap lock that blocks the inserts of the others.
    """
    failed = [call for call in journal.failures if call.result == DEADLOCK]
    found = len(journal.warnings) + len(failed)
    assert found == 0 or connections[using].vendor == "mysql", journal.warnings
    return found


def count_kept_saves(journal: Journal, using: str) -> int:
    """Return the number of interrupted saves that took effect."""
    tokens = {
        nodes[0]
        for nodes in Step.objects.using(using).values_list("ran_nodes", flat=True).iterator()
    }
    return sum(f"Custom:{call.token}" in tokens for call in journal.interrupted_saves())


def count_deltas(using: str) -> int:
    """Return the number of steps that are stored as changes."""
    return Step.objects.using(using).exclude(base=None).count()


def find_faults(journal: Journal, using: str, *, stale_slots: Collection[int] = ()) -> list[str]:
    """Return a description of each row that is missing, unexpected or wrong.

    Writers of ``stale_slots`` may fork what a node of a cluster had some time ago.
    """
    # Read what is stored, whatever this process remembers of it.
    memory.clear()
    found = list(journal.resumed)
    found += [f"torn snapshot of {session_id}" for session_id in wrong_snapshots(using)]
    found += [f"step without a session: {orphan}" for orphan in orphans(using)]
    found += [f"{finding}" for finding in verify(using=using, deep=True)]
    found += find_label_faults(journal, using)
    sessions = {row.id: row for row in Session.objects.using(using).all()}
    for session_id in journal.sessions() | set(sessions):
        try:
            stored = load_steps(session_id, using)
        except SerializationError as error:
            found.append(f"{session_id}: {error}")
            continue
        if session_id in sessions and not stored:
            found.append(f"{session_id}: created without a step")
        if session_id in journal.forks:
            found += _fork_faults(journal, session_id, sessions.get(session_id), stored)
            if journal.forks[session_id].slot not in stale_slots and stored:
                found += _missing_of_fork(journal, journal.forks[session_id], stored)
        else:
            found += _save_faults(journal, session_id, stored)
            found += _revision_faults(journal, session_id, sessions.get(session_id))
        if session_id.startswith(("chain/", "own/")):
            found += _chain_faults(journal, session_id, stored)
    return found


def load_steps(session_id: str, using: str) -> Stored:
    """Return all steps of a session, loaded through the service."""
    checkpointer = DjangoCheckpointer(using)
    stored: Stored = {}
    newest: int | None = None
    while True:
        page = checkpointer.query_steps(session_id, StepQuery(limit=PAGE, max_step=newest))
        stored |= {checkpoint.step: checkpoint for checkpoint in page.checkpoints}
        if not page.page_info.has_next_page:
            return stored
        newest = min(stored) - 1


def _save_faults(journal: Journal, session_id: str, stored: Stored) -> Iterator[str]:
    """Check that each acknowledged save is stored, unless a later call deleted or replaced it."""
    saved = journal.saves[session_id]
    deletes = [call for call in journal.deletes[session_id] if _may_have_deleted(call)]
    prunes = dict(_prunable_steps(journal, session_id))
    for step in sorted(saved.keys() | stored.keys()):
        calls = saved.get(step, [])
        others = [*calls, *deletes]
        location = f"{session_id} step {step}"
        if step not in stored:
            explained = [*deletes, *filter(None, [prunes.get(step)])]
            if is_superseded(max(explained, key=_ended, default=None), others):
                yield f"{location}: an acknowledged save is lost"
            continue
        checkpoint = stored[step]
        token = get_token(checkpoint)
        if checkpoint != build_checkpoint(session_id, step, token):
            yield f"{location}: what is stored is not what {token} saved"
        by = [call for call in calls if call.token == token and call.may_have_happened]
        if not by:
            yield f"{location}: holds {token}, which nobody saved there"
        elif is_superseded(max(by, key=_ended), others):
            yield f"{location}: holds {token}, and a later acknowledged call is lost"


def _ended(call: Call) -> float:
    return call.ended


def _prunable_steps(journal: Journal, session_id: str) -> Iterator[tuple[int, Call]]:
    """Yield the steps that a prune may have deleted, each with the last such prune.

    At least ``KEEP_LAST`` newer steps must have been saved before that prune ended.
    """
    prunes = [call for call in journal.prunes[session_id] if call.may_have_happened]
    if not prunes:
        return
    last = max(prunes, key=_ended)
    earliest: list[float] = []
    for step, calls in sorted(journal.saves[session_id].items(), reverse=True):
        if len(earliest) >= KEEP_LAST and earliest[KEEP_LAST - 1] < last.ended:
            yield step, last
        begun = [call.begun for call in calls if call.may_have_happened]
        if begun:
            insort(earliest, min(begun))
            del earliest[KEEP_LAST:]


def _may_have_deleted(call: Call) -> bool:
    return call.outcome in (UNKNOWN, FAILED) or (call.outcome == DONE and call.result is True)


def _chain_faults(journal: Journal, session_id: str, stored: Stored) -> Iterator[str]:
    """Check that each step has exactly one successful checked save, and that no step is missing."""
    if sorted(stored) != list(range(1, len(stored) + 1)):
        yield f"{session_id}: there are gaps between its {len(stored)} steps"
    for step, calls in journal.saves[session_id].items():
        winners = [call for call in calls if call.outcome == DONE]
        if len(winners) > 1:
            times = {call.token: round(call.ended, 3) for call in winners}
            yield f"{session_id} step {step}: won by {list(times)} at {list(times.values())}"


def _revision_faults(journal: Journal, session_id: str, session: Session | None) -> Iterator[str]:
    """Check that the revision of a session that was never deleted is the number of its saves."""
    if session is None or journal.deletes[session_id]:
        return
    calls = [call for each in journal.saves[session_id].values() for call in each]
    least = sum(call.outcome == DONE for call in calls)
    most = sum(call.may_have_happened for call in calls)
    if not least <= session.revision <= most:
        yield f"{session_id}: revision {session.revision}, not {least} to {most}"


def _fork_faults(
    journal: Journal, target: str, session: Session | None, stored: Stored
) -> Iterator[str]:
    """Check that a fork is stored completely, or not at all."""
    fork = journal.forks[target]
    deletes = [call for call in journal.deletes[target] if _may_have_deleted(call)]
    if session is None:
        if fork.outcome == DONE and not deletes:
            yield f"{target}: an acknowledged fork is lost"
        return
    if fork.outcome not in (DONE, UNKNOWN, FAILED) or is_superseded(fork, deletes):
        yield f"{target}: there is a fork that should not be"
    if (session.forked_from, session.forked_at_step) != (
        fork.session_id,
        max(stored, default=None),
    ):
        yield f"{target}: the fork is half written"
    if fork.outcome == DONE and fork.result != (max(stored), len(stored)):
        yield f"{target}: {len(stored)} steps to {max(stored)}, acknowledged {fork.result}"
    if session.revision != len(stored):
        yield f"{target}: revision {session.revision} after {len(stored)} steps"
    for step, checkpoint in stored.items():
        token = get_token(checkpoint)
        sources = journal.saves[fork.session_id].get(step, [])
        copied = build_checkpoint(target, step, token, source=fork.session_id)
        if checkpoint != copied or not any(
            call.token == token and call.may_have_happened and call.begun < fork.ended
            for call in sources
        ):
            yield f"{target} step {step}: holds {token}, which its source never held"


def _missing_of_fork(journal: Journal, fork: Call, stored: Stored) -> Iterator[str]:
    """Check that a fork contains every step that was saved before it and never deleted."""
    if not fork.session_id.startswith("free/"):
        return
    for step, calls in journal.saves[fork.session_id].items():
        copied = fork.step is None or step <= fork.step
        if (
            copied
            and step not in stored
            and is_superseded(None, [call for call in calls if call.ended < fork.begun])
        ):
            yield f"{fork.target} step {step}: was not copied"
