"""How many statements each call takes: pinned, and the same at every size."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction

from tests.builders import save_history
from tests.service.statements import Captured, captured
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import CheckpointerError, StepQuery
from weavegraph_checkpoints.backends.rows import COLUMNS
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label, Session, Step

SESSION = Session._meta.db_table
STEP = Step._meta.db_table

Call = Callable[[DjangoCheckpointer, int], Any]

WRITES: dict[str, Call] = {
    "save": lambda kept, last: kept.save(a_checkpoint(step=last + 1)),
    "save again": lambda kept, last: kept.save(a_checkpoint(step=last)),
    "save late": lambda kept, last: kept.save(a_checkpoint(step=0)),
    "save into a new one": lambda kept, last: kept.save(a_checkpoint("new")),
    "checked save": lambda kept, last: kept.save_with_concurrency_check(
        a_checkpoint(step=last + 1), last
    ),
    "checked birth": lambda kept, last: kept.save_with_concurrency_check(a_checkpoint("new"), 0),
    "conflict": lambda kept, last: kept.save_with_concurrency_check(a_checkpoint(step=3), 1),
    "conflict at birth": lambda kept, last: kept.save_with_concurrency_check(
        a_checkpoint("new", 3), 1
    ),
    "fork": lambda kept, last: kept.fork_session("session", "fork"),
    "fork at a step": lambda kept, last: kept.fork_session("session", "fork", at_step=5),
    "fork onto another": lambda kept, last: kept.fork_session("session", "session"),
    "fork of nothing": lambda kept, last: kept.fork_session("unknown", "fork"),
    "fork of no step": lambda kept, last: kept.fork_session("session", "fork", at_step=0),
    "delete": lambda kept, last: kept.delete_session("session"),
    "delete nothing": lambda kept, last: kept.delete_session("unknown"),
    "set_labels": lambda kept, last: kept.set_labels("session", {"env": "prod", "new": ""}),
    "set the same labels": lambda kept, last: kept.set_labels("session", {"env": "test"}),
    "set labels of nothing": lambda kept, last: kept.set_labels("unknown", {"env": "test"}),
}
READS: dict[str, Call] = {
    "load_latest": lambda kept, last: kept.load_latest("session"),
    "load_latest of nothing": lambda kept, last: kept.load_latest("unknown"),
    "load": lambda kept, last: kept.load("session", 5),
    "load nothing": lambda kept, last: kept.load("session", 10**9),
    "list_sessions": lambda kept, last: kept.list_sessions(),
    "a small page": lambda kept, last: kept.query_steps("session", StepQuery(limit=2)),
    "a large page": lambda kept, last: kept.query_steps("session", StepQuery(limit=1000)),
    "a filtered page": lambda kept, last: kept.query_steps(
        "session", StepQuery(ran_node="odd", skipped_node="review", min_step=2, offset=1)
    ),
    "a page of nothing": lambda kept, last: kept.query_steps("unknown"),
    "get_labels": lambda kept, last: kept.get_labels("session"),
    "get_labels of nothing": lambda kept, last: kept.get_labels("unknown"),
    "find_sessions": lambda kept, last: kept.find_sessions(limit=last),
    "find_sessions by status": lambda kept, last: kept.find_sessions(status="empty", limit=last),
    "a labelled page": lambda kept, last: kept.find_sessions(
        labels={"env": "test", "customer": "1"}, limit=last
    ),
}
STATEMENTS: dict[str, dict[str, int]] = {
    "sqlite": {
        "save": 1,
        "save again": 1,
        "save late": 1,
        "save into a new one": 4,
        "checked save": 1,
        "checked birth": 4,
        "conflict": 3,
        "conflict at birth": 3,
        "fork": 7,
        "fork at a step": 7,
        "fork onto another": 5,
        "fork of nothing": 2,
        "fork of no step": 4,
        "delete": 6,
        "delete nothing": 2,
        "set_labels": 5,
        "set the same labels": 3,
        "set labels of nothing": 2,
    },
    "postgresql": {
        "save": 1,
        "save again": 1,
        "save late": 1,
        "save into a new one": 3,
        "checked save": 1,
        "checked birth": 3,
        "conflict": 1,
        "conflict at birth": 1,
        "fork": 6,
        "fork at a step": 6,
        "fork onto another": 4,
        "fork of nothing": 1,
        "fork of no step": 3,
        "delete": 5,
        "delete nothing": 1,
        "set_labels": 4,
        "set the same labels": 2,
        "set labels of nothing": 1,
    },
    "mysql": {
        "save": 2,
        "save again": 2,
        "save late": 2,
        "save into a new one": 3,
        "checked save": 2,
        "checked birth": 3,
        "conflict": 1,
        "conflict at birth": 1,
        "fork": 6,
        "fork at a step": 6,
        "fork onto another": 4,
        "fork of nothing": 1,
        "fork of no step": 3,
        "delete": 5,
        "delete nothing": 1,
        "set_labels": 4,
        "set the same labels": 2,
        "set labels of nothing": 1,
    },
}
BY_ITSELF = {
    "sqlite": {"save", "save again", "save late", "checked save"},
    "postgresql": {
        *("save", "save again", "save late", "checked save", "conflict", "conflict at birth")
    },
    "mysql": set(),
}
"""The writes that are one autocommitted statement, with no transaction around it."""

pytestmark = pytest.mark.usefixtures("whole_states")

OWNERS = pytest.mark.parametrize("owner", [None, "ann"])
SIZES = pytest.mark.parametrize("size", [10, 200])


def a_world(owner: str | None, size: int) -> DjangoCheckpointer:
    """Store a session of so many steps, beside as many sessions."""
    checkpointer = DjangoCheckpointer(owner=owner)
    save_history(checkpointer, "session", [1])
    row = Step.objects.get()
    columns = {"session_id": "session", "frontier": row.frontier, "state": row.state}
    Step.objects.bulk_create(
        Step(step=step, ran_nodes=row.ran_nodes, skipped_nodes=row.skipped_nodes, **columns)
        for step in range(2, size + 1)
    )
    Session.objects.bulk_create(
        Session(id=f"other {number}", owner=owner or "") for number in range(size)
    )
    Label.objects.bulk_create(
        Label(session=session, key=key, value=value)
        for session in Session.objects.all()
        for key, value in [("env", "test"), ("customer", "1")]
    )
    # The first change of labels on a connection asks MariaDB whether it is in a cluster.
    checkpointer.set_labels("session", {})
    return checkpointer


def asked(checkpointer: DjangoCheckpointer, size: int, call: Call) -> Captured:
    """Capture a call, whatever it answers."""
    with captured() as found, suppress(CheckpointerError):
        call(checkpointer, size)
    return found


@pytest.fixture
def small(committed: None) -> DjangoCheckpointer:
    """One over a session of ten steps."""
    return a_world("ann", 10)


@OWNERS
@SIZES
def test_a_read_takes_one_statement_and_a_page_two(
    committed: None, owner: str | None, size: int
) -> None:
    checkpointer = a_world(owner, size)
    for name, call in READS.items():
        found = asked(checkpointer, size, call)
        assert (name, len(found)) == (name, 2 if name.endswith(" page") else 1)
        assert found.commands == []


@OWNERS
@SIZES
def test_a_write_takes_as_many_statements_at_every_size(
    db: None, owner: str | None, size: int
) -> None:
    checkpointer = a_world(owner, size)
    counts = {}
    for name, call in WRITES.items():
        with transaction.atomic():
            counts[name] = len(asked(checkpointer, size, call))
            transaction.set_rollback(True)
    assert counts == STATEMENTS[connection.vendor]


@pytest.mark.parametrize("name", WRITES)
def test_a_write_by_itself_takes_no_more(small: DjangoCheckpointer, name: str) -> None:
    found = asked(small, 10, WRITES[name])
    assert len(found) == STATEMENTS[connection.vendor][name], found.statements
    assert bool(found.commands) != (name in BY_ITSELF[connection.vendor])


@pytest.mark.parametrize("name", READS | WRITES)
def test_every_statement_on_steps_names_the_session(small: DjangoCheckpointer, name: str) -> None:
    found = asked(small, 10, (READS | WRITES)[name])
    for sql in found.statements:
        columns_of_insert = re.match(rf"INSERT INTO {STEP} \(session_id, ", sql)
        by_session = re.search(r"session_id (= |IN \()('|\$\d|%s)", sql)
        assert STEP not in sql or columns_of_insert or by_session or "saved AS" in sql, sql


def test_the_latest_is_read_from_the_row_of_the_session_alone(small: DjangoCheckpointer) -> None:
    (sql,) = asked(small, 10, READS["load_latest"]).statements
    assert SESSION in sql
    assert STEP not in sql


def test_the_list_of_sessions_reads_ids_alone(small: DjangoCheckpointer) -> None:
    (sql,) = asked(small, 10, READS["list_sessions"]).statements
    assert sql.startswith(f"SELECT id FROM {SESSION} ")
    assert "state" not in sql


def test_the_count_of_a_page_reads_no_state(small: DjangoCheckpointer) -> None:
    count, page = asked(small, 10, READS["a filtered page"]).statements
    assert count.startswith(f"SELECT COUNT(*) FROM {STEP} ")
    assert "state" not in count
    assert "LIMIT" in page


@pytest.mark.parametrize("name", WRITES)
def test_every_writing_transaction_locks_its_session_first(
    small: DjangoCheckpointer, name: str
) -> None:
    statements = asked(small, 10, WRITES[name]).statements
    first = {
        "sqlite": (
            rf"(INSERT INTO {SESSION} |UPDATE {SESSION} SET"
            rf" |INSERT INTO {STEP} \(.*\) VALUES \(\(SELECT id FROM {SESSION} WHERE id = )"
        ),
        "postgresql": (
            rf"(WITH locked AS MATERIALIZED \(SELECT .* FROM {SESSION} .* FOR NO KEY UPDATE\)"
            rf"|INSERT INTO {SESSION} |SELECT .* FROM {SESSION} WHERE id IN \('\w+'\) .*"
            r"FOR (NO KEY )?UPDATE)"
        ),
        "mysql": (rf"SELECT .* FROM {SESSION} .* FOR UPDATE"),
    }[connection.vendor]
    assert re.match(first, statements[0]), statements[0]


@pytest.mark.vendor("sqlite")
def test_a_save_into_a_session_copies_no_row(small: DjangoCheckpointer) -> None:
    """As an INSERT from a SELECT does where the table has a trigger: it is slower."""
    (sql,) = asked(small, 10, WRITES["save"]).statements
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        operations = [(name, columns) for _, name, _, columns, *_ in cursor.fetchall()]
    assert any(name == "Insert" for name, _ in operations)
    assert ("OpenEphemeral", len(COLUMNS)) not in operations


@pytest.mark.vendor("mysql")
@pytest.mark.parametrize("name", WRITES)
def test_a_statement_that_writes_steps_never_names_sessions(
    small: DjangoCheckpointer, name: str
) -> None:
    for sql in asked(small, 10, WRITES[name]).statements:
        if sql.startswith((f"INSERT INTO {STEP}", f"DELETE {STEP} FROM")):
            assert SESSION not in sql


@pytest.mark.vendor("mysql")
def test_a_delete_looks_at_the_steps_of_its_session_alone(small: DjangoCheckpointer) -> None:
    """A scan of the table would wait for rows of other sessions, and end in deadlocks."""
    (sql,) = [sql for sql in asked(small, 10, WRITES["delete"]).statements if STEP in sql]
    with connection.cursor() as cursor:
        cursor.execute(sql.replace(" FOR DELETE ", " FOR EXPLAIN DELETE ", 1))
        (plan,) = cursor.fetchall()
    assert (plan[3], plan[5]) == ("ref", "weavegraph_step_unique")
    assert "FORCE INDEX" in sql


def test_a_refused_value_asks_nothing_of_the_database(committed: None) -> None:
    checkpointer = DjangoCheckpointer()
    impossible: Any = "x" * 256
    calls: list[Callable[[], Any]] = [
        lambda: checkpointer.load_latest(impossible),
        lambda: checkpointer.load(impossible, 1),
        lambda: checkpointer.load("session", -1),
        lambda: checkpointer.query_steps(impossible),
        lambda: checkpointer.delete_session(impossible),
        lambda: checkpointer.fork_session(impossible, "fork"),
        lambda: checkpointer.fork_session("session", impossible),
        lambda: checkpointer.save_with_concurrency_check(a_checkpoint(step=1), 1),
    ]
    with captured() as found:
        for call in calls:
            with suppress(CheckpointerError):
                call()
    assert found.statements == []
    assert found.commands == []


@pytest.mark.vendor("postgresql")
def test_a_state_is_sent_apart_from_the_sql(small: DjangoCheckpointer) -> None:
    (sql,) = asked(small, 10, WRITES["save"]).statements
    assert "$13" in sql
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", ["as Django does"])
        assert b"as Django does" in cursor.cursor._query.query


@pytest.mark.vendor("postgresql")
def test_a_cursor_that_the_project_chose_is_kept(
    small: DjangoCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Chosen(connection.connection.cursor_factory):  # type: ignore[misc]
        pass

    monkeypatch.setattr(connection.connection, "cursor_factory", Chosen)
    (sql,) = asked(small, 10, WRITES["save"]).statements
    assert "$" not in sql
    assert connection.connection.cursor_factory is Chosen
