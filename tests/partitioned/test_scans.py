"""A call that names a session reads and writes only the partitions of that session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import Client

from tests.admin.example_runs import get_page_urls
from tests.api.calls import CALLS, Call
from tests.long_histories import STEPS, grow, save_long_history
from tests.scratch import execute, query
from weavegraph_checkpoints import StepQuery
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.compaction import compact
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health.chains import find_broken_chains
from weavegraph_checkpoints.health.sql import HealthStatements
from weavegraph_checkpoints.interchange import export_history
from weavegraph_checkpoints.models import Keyframe, Step
from weavegraph_checkpoints.pruning import prune

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("stored")]

SESSIONS = ("run", "other", "fork")
NEXT = STEPS.stop


@pytest.fixture
def stored(changes: None) -> None:
    """Two sessions of many keyframes; the process remembers neither."""
    for session_id in SESSIONS[:2]:
        save_long_history(session_id)
    memory.clear()


def get_partitions(*session_ids: str) -> set[str]:
    """Return the partitions of sessions."""
    tables = [model._meta.db_table for model in (Step, Keyframe)]
    rows = query(
        connection,
        "SELECT partition.relname FROM pg_inherits JOIN pg_class AS partition"
        " ON partition.oid = inhrelid, unnest(%s::text[]) AS session_id"
        " WHERE inhparent = ANY (%s::regclass[]) AND satisfies_hash_partition(inhparent, 16,"
        " substring(partition.relname FROM '[0-9]+$')::int, session_id::varchar)",
        list(session_ids),
        tables,
    )
    assert len(rows) == len(tables) * len(session_ids)
    return {name for (name,) in rows}


def count_scans() -> dict[str, int]:
    """Return how often each partition was read or written in this transaction."""
    rows = query(
        connection,
        "SELECT relname, seq_scan + COALESCE(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del"
        " FROM pg_stat_xact_user_tables JOIN pg_inherits ON relid = inhrelid",
    )
    return dict(rows)


def check_foreign_keys() -> None:
    execute(connection, "SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL DEFERRED")


@contextmanager
def scanned() -> Iterator[set[str]]:
    """Yield a set that holds, after the block, the partitions that it read or wrote.

    The triggers count, and so do the checks of foreign keys.
    """
    found: set[str] = set()
    check_foreign_keys()
    before = count_scans()
    yield found
    check_foreign_keys()
    found.update(name for name, count in count_scans().items() if count > before.get(name, 0))


def test_each_session_has_its_own_partitions() -> None:
    assert len(get_partitions(*SESSIONS)) == 6


def test_a_statement_without_a_session_reads_all_partitions() -> None:
    with scanned() as partitions:
        Step.objects.filter(step=7).count()
    assert len(partitions) == 16


CHECKPOINTER = DjangoCheckpointer()

SERVICE: dict[str, tuple[Callable[[], object], tuple[str, ...]]] = {
    "save": (lambda: CHECKPOINTER.save(grow("run", NEXT)), ("run",)),
    "save, keyframe known": (
        lambda: (CHECKPOINTER.load_latest("run"), CHECKPOINTER.save(grow("run", NEXT))),
        ("run",),
    ),
    "save, checked": (
        lambda: CHECKPOINTER.save_with_concurrency_check(grow("run", NEXT), NEXT - 1),
        ("run",),
    ),
    "save, replacing": (lambda: CHECKPOINTER.save(grow("run", 5)), ("run",)),
    "save, appending": (lambda: CHECKPOINTER.save(grow("run", NEXT), replace=False), ("run",)),
    "save, new session": (lambda: CHECKPOINTER.save(grow("fork", 1)), ("fork",)),
    "load_latest": (lambda: CHECKPOINTER.load_latest("run"), ("run",)),
    "load": (lambda: CHECKPOINTER.load("run", 7), ("run",)),
    "query_steps": (lambda: CHECKPOINTER.query_steps("run", StepQuery(max_step=15)), ("run",)),
    "query_steps, one node": (
        lambda: CHECKPOINTER.query_steps("run", StepQuery(ran_node="plan")),
        ("run",),
    ),
    "fork_session": (lambda: CHECKPOINTER.fork_session("run", "fork"), ("run", "fork")),
    "delete_session": (lambda: CHECKPOINTER.delete_session("run"), ("run",)),
    "list_sessions": (CHECKPOINTER.list_sessions, ()),
    "find_sessions": (CHECKPOINTER.find_sessions, ()),
    "set_labels": (lambda: CHECKPOINTER.set_labels("run", {"team": "x"}), ()),
    "get_labels": (lambda: CHECKPOINTER.get_labels("run"), ()),
    "prune": (lambda: prune(RetentionPolicy(keep_last=3, session_ids=["run"])), ("run",)),
    "compact": (lambda: compact(session_ids=["run"]), ("run",)),
    "compact, whole": (lambda: compact(session_ids=["run"], whole=True), ("run",)),
    "whole_state": (lambda: Step.objects.get(session="run", step=9).whole_state(), ("run",)),
    "update of a step": (
        lambda: Step.objects.filter(session="run", step=9).update(step=99),
        ("run",),
    ),
    "delete of the newest step": (
        lambda: Step.objects.filter(session="run", step=NEXT - 1).delete(),
        ("run",),
    ),
}
"""Calls, and the sessions whose partitions they may read and write."""


@pytest.mark.parametrize("name", SERVICE)
def test_the_service(name: str) -> None:
    call, session_ids = SERVICE[name]
    with scanned() as partitions:
        call()
    assert partitions <= get_partitions(*session_ids)
    assert bool(partitions) == bool(session_ids)


def test_the_check_of_chains() -> None:
    statements = HealthStatements(get_backend(connection))
    headers = statements.get_headers(("run", -1), len(STEPS), measure=False)
    assert {header.session_id for header in headers} == {"run"}
    with scanned() as partitions:
        assert find_broken_chains(statements, headers) == []
    assert partitions
    assert partitions < get_partitions("run")


def test_an_export_of_a_session(tmp_path: object) -> None:
    with scanned() as partitions:
        export_history(f"{tmp_path}/history.sqlite3", sessions=["run"])
    assert partitions == get_partitions("run")


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_the_api(call: Call, api: Client) -> None:
    Step.objects.filter(session="run", step__gt=2).delete()
    with scanned() as partitions:
        assert call.by(api).status_code == call.status
    sessions = ["run", "fork"] if call.name == "fork" else ["run"]
    assert partitions <= get_partitions(*(sessions if call.path.startswith("run") else []))


@pytest.mark.parametrize("page", sorted(set(get_page_urls("run", 3)) - {"prune"}))
def test_the_pages_of_the_admin(page: str, admin_client: Client) -> None:
    with scanned() as partitions:
        assert admin_client.get(get_page_urls("run", 3)[page]).status_code == 200
    assert partitions <= get_partitions(*([] if page == "list" else ["run"]))
