"""What ``docs/scale-out-engines.md`` says that the app asks of a database."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, models

from tests.docs.markdown import names, page, rows
from tests.service.statements import captured
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Message, VersionedState, triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Label, Session, Step

PAGE = page("scale-out-engines")
MODELS = (Session, Step, Label, Keyframe)


def find_keys_without_session() -> Iterator[tuple[str, str, str]]:
    for model in MODELS:
        table = model._meta.db_table
        for field in model._meta.concrete_fields:
            if model is Session:
                continue
            if field.primary_key:
                yield table, field.column, "primary key"
            elif field.unique:
                yield table, field.column, "unique"
            if isinstance(field, models.ForeignKey) and field.remote_field.model is not Session:
                yield table, field.column, "foreign key"
        for constraint in model._meta.constraints:
            assert "session" in constraint.fields  # type: ignore[attr-defined]


def test_the_keys_without_the_session_are_listed() -> None:
    section = PAGE.section("What the app asks for")
    table = section[section.index("| table |") :]
    documented = {(names(row[0])[0], names(row[1])[0], row[2]) for row in rows(table)}
    assert documented == set(find_keys_without_session())


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db
def test_what_the_trigger_of_postgresql_asks_for() -> None:
    (trigger,) = triggers.definitions(connection)
    text = "\n".join(trigger.create)
    for asked in ("FOR EACH STATEMENT", "FOR EACH ROW", "FOR NO KEY UPDATE", "FOR KEY SHARE"):
        assert asked in text
    settings = re.findall(r"set_config\(\s*'(\w+)[^']*',.*?, (\w+)\)", text)
    assert {scope for _name, scope in settings} == {"true"}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(condeferrable AND condeferred), count(*) FROM pg_constraint"
            " WHERE contype = 'f' AND conrelid::regclass::text LIKE 'weavegraph_checkpoints_%%'"
        )
        assert cursor.fetchone() == (True, 5)
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE data_type ="
            " 'json' AND table_name LIKE 'weavegraph_checkpoints_%%' ORDER BY 1, 2"
        )
        assert [column for _table, column in cursor.fetchall()] == ["state", "last_state", "state"]


STATE = VersionedState.new([Message.user("x" * 1000)] * 100, {})
CALLS: dict[str, Callable[[DjangoCheckpointer], Any]] = {
    "save": lambda service: service.save(a_checkpoint("run", 2, state=STATE)),
    "save_with_concurrency_check": lambda service: service.save_with_concurrency_check(
        a_checkpoint("run", 3, state=STATE), 2
    ),
    "load_latest": lambda service: service.load_latest("run"),
    "load": lambda service: service.load("run", 3),
    "get_labels": lambda service: service.get_labels("run"),
    "set_labels": lambda service: service.set_labels("run", {"env": "test"}),
    "list_sessions": lambda service: service.list_sessions(),
    "query_steps": lambda service: service.query_steps("run"),
    "find_sessions": lambda service: service.find_sessions(labels={"env": "test"}),
    "fork_session": lambda service: service.fork_session("run", "fork"),
    "delete_session": lambda service: service.delete_session("run"),
}
READS = {name for name in CALLS if name.startswith(("load", "get", "list", "query", "find"))}
SYSTEM_COLUMNS = re.compile(r"\b(ctid|xmin|xmax|cmin|cmax|tableoid)\b", re.IGNORECASE)


@contextmanager
def sent_texts() -> Iterator[list[bytes]]:
    """Record the text of each statement as psycopg sends it, without bound parameters."""
    found: list[bytes] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        query = context["cursor"].cursor._query
        if query is not None:
            found.append(query.query)
        return result

    with connection.execute_wrapper(record):
        yield found


@pytest.mark.vendor("postgresql")
@pytest.mark.django_db(transaction=True)
def test_a_state_is_not_part_of_the_text_of_a_statement() -> None:
    service = DjangoCheckpointer()
    service.save(a_checkpoint("run", 1))
    with sent_texts() as texts:
        for call in CALLS.values():
            call(service)
    assert len(texts) > len(CALLS)
    assert max(map(len, texts)) < 2_000
    assert not any(SYSTEM_COLUMNS.search(text.decode()) for text in texts)


@pytest.mark.vendor("mysql")
@pytest.mark.django_db(transaction=True)
def test_on_mariadb_writes_are_transactions_and_reads_are_not() -> None:
    service = DjangoCheckpointer()
    service.save(a_checkpoint("run", 1))
    for name, call in CALLS.items():
        with captured() as found:
            call(service)
        assert bool(found.commands) == (name not in READS), name
        if name == "save":
            assert found.statements[0].endswith("FOR UPDATE")
            assert max(map(len, found.statements)) > 100_000


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize("name", sorted(set(CALLS) - READS))
def test_a_read_only_file_refuses_each_write(committed: None, name: str, tmp_path: Path) -> None:
    service = DjangoCheckpointer()
    service.save(a_checkpoint("run", 1))
    path = tmp_path / "copy.sqlite3"
    with closing(sqlite3.connect(path)) as copy:
        connection.connection.backup(copy)
    settings = {**connections.settings["default"], "NAME": f"file:{path}?mode=ro"}
    settings["OPTIONS"] = {"uri": True}
    connections.settings["read_only"] = settings
    try:
        replica = DjangoCheckpointer("read_only")
        assert replica.load_latest("run") == service.load_latest("run")
        with pytest.raises(OperationalError, match="readonly database"):
            CALLS[name](replica)
    finally:
        connections["read_only"].close()
        del connections["read_only"], connections.settings["read_only"]


@pytest.mark.vendor("sqlite")
@pytest.mark.django_db(transaction=True)
def test_the_same_statements_on_two_databases_give_two_times() -> None:
    statements: list[tuple[str, Any]] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        cursor = context["cursor"]
        # The text as Django passes it to the driver, with its placeholders.
        statements.append((cursor.convert_query(sql, param_names=list(params)), params))
        return execute(sql, params, many, context)

    DjangoCheckpointer().save(a_checkpoint("run", 1))
    copies = [sqlite3.connect(":memory:") for _ in range(2)]
    for copy in copies:
        connection.connection.backup(copy)
    with connection.execute_wrapper(record):
        DjangoCheckpointer().save(a_checkpoint("run", 2))
    for copy in copies:
        for sql, params in statements:
            copy.execute(sql, params)
        time.sleep(0.01)
    steps, times = [], []
    for copy in copies:
        steps.append(copy.execute(f"SELECT * FROM {Step._meta.db_table}").fetchall())
        times.append(copy.execute(f"SELECT updated_at FROM {Session._meta.db_table}").fetchone())
        copy.close()
    assert steps[0] == steps[1]
    assert times[0] != times[1]
