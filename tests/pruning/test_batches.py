"""Bounded batches, what they send to the database, and what they leave alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from tests.builders import everything_stored, wrong_snapshots
from tests.pruning.histories import (
    DAY,
    MAX_STEP,
    NOW,
    Model,
    build_history,
    create_histories,
    get_stored_steps,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.exceptions import InvalidPolicy
from weavegraph_checkpoints.health.stats import collect
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.pruning import PruneResult, prune
from weavegraph_checkpoints.pruning import sql as prune_sql

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]

KEEP_TWO = RetentionPolicy(keep_last=2)
INACTIVE = RetentionPolicy(delete_inactive=DAY)
LONG_AGO = NOW - 9 * DAY


class Ended(Exception):
    """The caller's own change of mind."""


@pytest.mark.parametrize("name", ["batch_size", "max_batches"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "10", MAX_STEP + 1])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_size_outside_its_range_is_refused(name: str, value: Any, dry_run: bool) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        prune(KEEP_TWO, dry_run=dry_run, **{name: value})
    assert caught.value.path == name


@pytest.mark.parametrize("policy", [KEEP_TWO, INACTIVE], ids=["steps", "sessions"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 8, 9, 20, 10_000])
def test_each_batch_deletes_at_most_its_size(policy: RetentionPolicy, batch_size: int) -> None:
    table = {
        "empty": build_history([], updated_at=LONG_AGO),
        "long": build_history(range(10), updated_at=LONG_AGO),
        "longer": build_history(range(11), updated_at=LONG_AGO),
        "short": build_history([5], updated_at=LONG_AGO),
    }
    create_histories(table)
    counts = [0]
    result = prune(
        policy, batch_size=batch_size, on_progress=lambda so_far: counts.append(so_far.steps)
    )
    assert max(after - before for before, after in pairwise(counts)) <= batch_size
    model = Model(table)
    assert result == model.prune(policy)
    assert get_stored_steps() == model.left()


def test_max_batches_ends_a_run_and_says_so() -> None:
    create_histories({"s": build_history(range(12))})
    results = [prune(KEEP_TWO, batch_size=4, max_batches=1) for _ in range(4)]
    assert [(each.steps, each.finished) for each in results] == [
        (4, False),
        (4, False),
        (2, True),
        (0, True),
    ]
    assert get_stored_steps() == {"s": {10, 11}}


def test_max_batches_counts_sessions_too() -> None:
    create_histories({name: build_history(range(3), updated_at=LONG_AGO) for name in "abc"})
    result = prune(INACTIVE, batch_size=3, max_batches=2)
    assert (result.steps, result.sessions, result.finished) == (6, 2, False)
    assert set(get_stored_steps()) == {"c"}


def test_progress_rises_to_the_result_and_may_end_the_run() -> None:
    create_histories({"s": build_history(range(12))})
    seen: list[PruneResult] = []

    def on_progress(result: PruneResult) -> None:
        seen.append(result)
        if result.steps >= 8:
            raise Ended

    with pytest.raises(Ended):
        prune(KEEP_TWO, batch_size=4, on_progress=on_progress)
    assert [each.steps for each in seen] == [4, 8]
    assert not any(each.finished for each in seen)
    assert get_stored_steps() == {"s": {0, 1, 10, 11}}
    assert prune(KEEP_TWO).steps == 2


@pytest.mark.parametrize("policy", [KEEP_TWO, INACTIVE], ids=["steps", "sessions"])
def test_sessions_longer_than_a_read_and_than_a_batch(
    policy: RetentionPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune_sql, "READ_BATCH_SIZE", 50)
    table = {
        "long": build_history([0, *range(3, 203), MAX_STEP], updated_at=LONG_AGO),
        "short": build_history(range(4), updated_at=LONG_AGO),
        "other long": build_history(range(51), updated_at=LONG_AGO),
    }
    create_histories(table)
    model = Model(table)
    would = prune(policy, dry_run=True)
    assert prune(policy, batch_size=30) == would == model.prune(policy)
    assert get_stored_steps() == model.left()
    assert wrong_snapshots() == []


def test_a_long_read_reports_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_sql, "READ_BATCH_SIZE", 50)
    create_histories({"long": build_history(range(130))})
    reports: list[PruneResult] = []
    prune(RetentionPolicy(older_than=119 * DAY), batch_size=5, on_progress=reports.append)
    assert [report.steps for report in reports[:2]] == [0, 0]
    assert reports[-1].steps == 10


def test_a_long_count_reports_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_sql, "READ_BATCH_SIZE", 50)
    create_histories({"long": build_history(range(180))})
    reports: list[PruneResult] = []
    prune(RetentionPolicy(keep_last=100), dry_run=True, on_progress=reports.append)
    counts = [result.steps for result in reports]
    assert counts == sorted(counts)
    assert 0 < counts[0] < counts[-1]


def test_a_long_count_reports_what_it_finds_nothing_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune_sql, "READ_BATCH_SIZE", 50)
    create_histories({"long": build_history(range(180))})
    reports: list[PruneResult] = []
    policy = RetentionPolicy(older_than=timedelta.max)
    assert prune(policy, dry_run=True, on_progress=reports.append).steps == 0
    assert len(reports) >= 4


@pytest.mark.parametrize("policy", [KEEP_TWO, INACTIVE], ids=["steps", "sessions"])
def test_a_batch_that_takes_several_statements(policy: RetentionPolicy) -> None:
    table = {f"s{n}": build_history(range(130), updated_at=LONG_AGO) for n in range(9)}
    create_histories(table)
    model = Model(table)
    assert prune(policy, batch_size=5000) == model.prune(policy)
    assert get_stored_steps() == model.left()


def test_step_pruning_leaves_the_session_row_alone() -> None:
    create_histories(
        {
            "s": build_history(range(9), owner="me", updated_at=LONG_AGO),
            "t": build_history(range(3)),
        }
    )
    sessions, *_ = everything_stored()
    latest = DjangoCheckpointer().load_latest("s")
    prune(RetentionPolicy(keep_last=1))
    assert everything_stored()[0] == sessions
    assert DjangoCheckpointer().load_latest("s") == latest
    assert wrong_snapshots() == []
    assert not DjangoCheckpointer().query_steps("s").page_info.has_next_page


def test_a_fork_outlives_its_source() -> None:
    checkpointer = DjangoCheckpointer()
    create_histories({"source": build_history(range(9))})
    checkpointer.fork_session("source", "fork", at_step=6)
    Session.objects.filter(id="source").update(updated_at=LONG_AGO)
    rows = everything_stored()
    prune(RetentionPolicy(keep_last=1, session_ids=["source"]))
    assert get_stored_steps() == {"source": {8}, "fork": set(range(7))}
    prune(INACTIVE)
    assert get_stored_steps() == {"fork": set(range(7))}
    fork = Session.objects.get(id="fork")
    assert (fork.forked_from, fork.forked_at_step, fork.last_step) == ("source", 6, 6)
    assert [row for row in rows[0] if row[0] == "fork"] == everything_stored()[0]
    assert [row for row in rows[1] if row[1] == "fork"] == everything_stored()[1]
    assert wrong_snapshots() == []


def test_another_database() -> None:
    with pytest.raises(connections.exception_class):
        prune(KEEP_TWO, using="none such")


@pytest.mark.django_db(databases=["default", "other"])
def test_only_the_database_named_is_touched() -> None:
    create_histories({"s": build_history(range(5))})
    create_histories({"s": build_history(range(5))}, using="other")
    assert prune(KEEP_TWO, using="other").steps == 3
    assert (get_stored_steps("other"), get_stored_steps()) == ({"s": {3, 4}}, {"s": set(range(5))})


# What a run sends


def sent(run: Callable[[], Any]) -> list[str]:
    """Return the statements of a run without those that begin and end transactions."""
    with CaptureQueriesContext(connection) as captured:
        run()
    commands = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET TRANSACTION)\b")
    return [query["sql"] for query in captured if not commands.match(query["sql"])]


POLICIES = {
    "keep_last": KEEP_TWO,
    "older_than": RetentionPolicy(older_than=DAY),
    "delete_inactive": INACTIVE,
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_number_of_statements_is_that_of_the_batches(policy: RetentionPolicy) -> None:
    def statements(sessions: int) -> int:
        create_histories(
            {
                f"{sessions}-{n:03}": build_history(range(6), updated_at=LONG_AGO)
                for n in range(sessions)
            }
        )
        counts = [len(sent(lambda: prune(policy, dry_run=True)))]
        counts.append(len(sent(lambda: prune(policy, batch_size=10_000))))
        Session.objects.all().delete()
        assert counts[0] <= counts[1]
        return counts[1]

    assert statements(30) == statements(60)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_batch_is_a_few_statements(policy: RetentionPolicy) -> None:
    create_histories({"s": build_history(range(102), updated_at=LONG_AGO)})
    few = len(sent(lambda: prune(policy, batch_size=50, max_batches=1)))
    more = len(sent(lambda: prune(policy, batch_size=10)))
    assert few <= 10
    assert more <= 5 * 6 + 8


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_no_statement_names_a_state_or_opens_a_cursor(policy: RetentionPolicy) -> None:
    create_histories(
        {
            "s": build_history(range(9), updated_at=LONG_AGO),
            "t": build_history(range(9), updated_at=LONG_AGO),
        }
    )

    def both() -> None:
        prune(policy, dry_run=True)
        prune(policy, batch_size=2)

    statements = sent(both)
    assert statements
    for sql in statements:
        words = set(re.findall(r"\w+", sql.lower()))
        assert not words & {"state", "last_state", "frontier", "versions_seen", "declare", "join"}
        assert "*" not in sql.replace("COUNT(*)", "")
        if "STEP" in sql.upper().partition("FROM")[2].partition("WHERE")[0]:
            assert "session_id" in sql


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_steps_are_deleted_by_session_and_number(policy: RetentionPolicy) -> None:
    create_histories(
        {
            "s": build_history(range(4), updated_at=LONG_AGO),
            "t": build_history(range(4), updated_at=LONG_AGO),
        }
    )
    statements = sent(lambda: prune(policy))
    deletes = [sql for sql in statements if re.match(r"(SET STATEMENT [^;]+ FOR )?DELETE ", sql)]
    assert deletes
    clause = (
        r"\(session_id = '\w' AND step = ANY\('\{[\d,]+\}'::int2\[\]::bigint\[\]\)\)"
        if connection.vendor == "postgresql"
        else r"\(session_id = '\w' AND step IN \([\d, ]+\)\)"
    )
    for sql in deletes:
        table, _, condition = sql.partition(" WHERE ")
        assert table.count("FROM") == 1
        assert "," not in table
        if "checkpoints_step" in table:
            narrowed = rf"\({clause}( OR {clause})*\) AND (TRUE|created_at < \S+ \S+) RETURNING .+"
            plain_delete = rf"{clause}( OR {clause})*"
            assert re.fullmatch(f"{plain_delete}|{narrowed}", condition), condition
        else:
            assert re.fullmatch(r"(session_)?id (= '\w'|IN \('\w'(, '\w')*\))", condition), (
                condition
            )


@pytest.mark.vendor("mysql")
def test_what_counts_many_rows_reads_them_in_the_order_of_the_table() -> None:
    """Each row by itself, as an index finds it, takes half as long again, or twice as long."""
    create_histories({f"s{n}": build_history(range(9)) for n in range(9)})
    (tails,) = [sql for sql in sent(lambda: prune(KEEP_TWO, dry_run=True)) if "OFFSET" in sql]
    (histories,) = [sql for sql in sent(collect) if " OVER " in sql]
    with connection.cursor() as cursor:
        cursor.execute(tails.replace(" FOR SELECT ", " FOR EXPLAIN SELECT ", 1))
        plans = [row[-1] for row in cursor.fetchall() if row[1] in ("PRIMARY", "UNION")]
        cursor.execute(f"EXPLAIN {histories}")
        ways = {row[3] for row in cursor.fetchall()}
    assert len(plans) == 9
    assert all("Rowid-ordered scan" in plan for plan in plans)
    assert ways == {"ALL"}


@pytest.mark.vendor("sqlite")
def test_narrowing_reads_sessions_in_the_order_of_their_ids() -> None:
    create_histories({f"s{n}": build_history(range(3)) for n in range(9)})
    policy = RetentionPolicy(keep_last=1, status="resumable", owner="")
    reads = [sql for sql in sent(lambda: prune(policy, dry_run=True)) if "updated_at" in sql]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {reads[0]}")
        plan = " ".join(str(row) for row in cursor.fetchall())
    assert "TEMP B-TREE" not in plan
