"""The migration operations, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.migrations.writer import MigrationWriter
from django.test.utils import CaptureQueriesContext

from tests.scratch import APP
from weavegraph_checkpoints import fields, triggers
from weavegraph_checkpoints.fields import CompressWithLz4
from weavegraph_checkpoints.triggers.operations import (
    InstallSnapshotTrigger,
    RemoveSnapshotTrigger,
)

OPERATIONS: list[Callable[[], Operation]] = [
    InstallSnapshotTrigger,
    RemoveSnapshotTrigger,
    lambda: CompressWithLz4("Step", "state"),
]


def run(using: BaseDatabaseWrapper, operation: Operation, *, backwards: bool = False) -> list[str]:
    """Run an operation on migrated tables; return the statements that it executed."""
    state = MigrationLoader(None).project_state()
    with CaptureQueriesContext(using) as queries, using.schema_editor() as editor:
        queries.captured_queries.clear()
        method = operation.database_backwards if backwards else operation.database_forwards
        method(APP, editor, state, state)
    return [query["sql"] for query in queries.captured_queries if defines(query["sql"])]


def defines(sql: str) -> bool:
    return sql.startswith(("CREATE", "DROP", "ALTER"))


def kinds(scratch: BaseDatabaseWrapper) -> set[str]:
    return {problem.kind for problem in triggers.problems(scratch)}


def test_install_and_remove_are_each_other_backwards(scratch: BaseDatabaseWrapper) -> None:
    for install, remove, backwards in (
        (InstallSnapshotTrigger(), RemoveSnapshotTrigger(), False),
        (RemoveSnapshotTrigger(), InstallSnapshotTrigger(), True),
    ):
        run(scratch, remove, backwards=backwards)
        assert kinds(scratch) == {"missing"}
        run(scratch, install, backwards=backwards)
        assert kinds(scratch) == set()


def test_applied_twice_they_do_no_harm(scratch: BaseDatabaseWrapper) -> None:
    for operation, left in (
        (InstallSnapshotTrigger(), set()),
        (RemoveSnapshotTrigger(), {"missing"}),
    ):
        for _ in range(2):
            run(scratch, operation)
            assert kinds(scratch) == left


@pytest.mark.parametrize("make", OPERATIONS)
def test_they_do_nothing_where_a_router_forbids(
    scratch: BaseDatabaseWrapper, settings: Any, make: Callable[[], Operation]
) -> None:
    settings.DATABASE_ROUTERS = ["tests.routers.NowhereRouter"]
    assert run(scratch, make()) == []
    assert run(scratch, make(), backwards=True) == []


@pytest.mark.parametrize("make", OPERATIONS)
@pytest.mark.parametrize("vendor", ["oracle", "mysql"])
def test_they_do_nothing_on_a_vendor_that_is_not_supported(
    scratch: BaseDatabaseWrapper,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Operation],
    vendor: str,
) -> None:
    monkeypatch.setattr(scratch, "vendor", vendor)
    monkeypatch.setattr(scratch, "mysql_is_mariadb", False, raising=False)
    assert run_without_editor(scratch, make()) == []


def run_without_editor(using: BaseDatabaseWrapper, operation: Operation) -> list[str]:
    """Run an operation with an editor that collects the statements."""
    executed: list[str] = []

    class Editor:
        connection = using

        def execute(self, sql: str, params: object = ()) -> None:
            executed.append(sql)

    state = MigrationLoader(None).project_state()
    operation.database_forwards(APP, Editor(), state, state)
    operation.database_backwards(APP, Editor(), state, state)
    return executed


@pytest.mark.parametrize(
    ("operation", "description", "fragment"),
    [
        (
            InstallSnapshotTrigger(),
            "Install the snapshot trigger v1",
            "install_snapshot_trigger_v1",
        ),
        (RemoveSnapshotTrigger(), "Remove the snapshot trigger v1", "remove_snapshot_trigger_v1"),
        (
            CompressWithLz4("Step", "state"),
            "Compress Step.state with lz4 if it is supported",
            "step_state_lz4",
        ),
    ],
)
def test_how_they_describe_themselves(
    operation: Operation, description: str, fragment: str
) -> None:
    assert operation.describe() == description
    assert operation.migration_name_fragment == fragment
    assert operation.reversible
    assert operation.reduces_to_sql
    assert operation.references_model("Step", APP)
    assert not operation.references_model("Group", "auth")


def test_the_trigger_references_both_models_and_no_field_of_another() -> None:
    for operation in (InstallSnapshotTrigger(), RemoveSnapshotTrigger()):
        assert operation.references_model("session", APP)
        assert operation.references_field("step", "state", APP)


def test_they_leave_the_state_of_the_models_alone() -> None:
    state = MigrationLoader(None).project_state()
    for make in OPERATIONS:
        after = state.clone()
        make().state_forwards(APP, after)
        assert after == state


def test_they_are_written_into_migrations_with_their_version() -> None:
    assert InstallSnapshotTrigger("v1").deconstruct() == ("InstallSnapshotTrigger", ("v1",), {})
    assert RemoveSnapshotTrigger().deconstruct() == ("RemoveSnapshotTrigger", (), {})
    migration = Migration("0003_written", APP)
    migration.operations = [
        RemoveSnapshotTrigger(),
        CompressWithLz4("Step", "state"),
        InstallSnapshotTrigger(version="v1"),
    ]
    written: dict[str, Any] = {}
    exec(compile(MigrationWriter(migration).as_string(), "0003_written.py", "exec"), written)
    remove, compress, install = written["Migration"].operations
    assert (remove.version, install.version) == ("v1", "v1")
    assert (compress.model_name, compress.name) == ("Step", "state")


def test_a_version_that_is_not_there_is_no_silent_success(scratch: BaseDatabaseWrapper) -> None:
    with pytest.raises(KeyError):
        run(scratch, InstallSnapshotTrigger("v0"))


@pytest.mark.vendor("postgresql")
class TestCompression:
    """lz4 where the server offers it."""

    def method(self, scratch: BaseDatabaseWrapper) -> str:
        with scratch.cursor() as cursor:
            cursor.execute(
                "SELECT attcompression FROM pg_attribute WHERE attname = 'state'"
                " AND attrelid = 'weavegraph_checkpoints_step'::regclass"
            )
            (method,) = cursor.fetchone()
        return str(method)

    def test_forwards_and_backwards(self, scratch: BaseDatabaseWrapper) -> None:
        operation = CompressWithLz4("Step", "state")
        with scratch.cursor() as cursor:
            cursor.execute(
                "SELECT CASE WHEN enumvals @> '{lz4}' THEN 'l' ELSE '' END FROM pg_settings"
                " WHERE name = 'default_toast_compression'"
            )
            (expected,) = cursor.fetchone()
        assert self.method(scratch) == expected
        run(scratch, operation, backwards=True)
        assert self.method(scratch) == ""
        run(scratch, operation)
        assert self.method(scratch) == expected

    def test_a_server_without_lz4_is_left_alone(
        self, scratch: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(scratch, CompressWithLz4("Step", "state"), backwards=True)
        monkeypatch.setattr(fields, "_supports_lz4", lambda connection: False)
        assert run(scratch, CompressWithLz4("Step", "state")) == []
        assert self.method(scratch) == ""


@pytest.mark.vendor("mysql", "sqlite")
def test_compression_is_for_postgresql_alone(scratch: BaseDatabaseWrapper) -> None:
    assert run(scratch, CompressWithLz4("Step", "state")) == []


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize(
    ("offered", "expected"), [("'{pglz}'", False), ("'{pglz,lz4}'", True), ("NULL", False)]
)
def test_what_a_server_offers(
    db: None, monkeypatch: pytest.MonkeyPatch, offered: str, expected: bool
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE pg_settings AS SELECT 'default_toast_compression'::text AS"
            f" name, {offered}::text[] AS enumvals"
        )
        cursor.execute("SET LOCAL search_path = pg_temp, public, pg_catalog")
    assert fields._supports_lz4(connection) is expected
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE pg_temp.pg_settings")
