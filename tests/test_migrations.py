"""The migrations: complete, reversible, with the trigger there at the end of every path."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import AlterField, Migration
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState
from django.db.utils import DatabaseError
from django.test import override_settings

from tests.scratch import APP, execute, migrate, query
from tests.triggers.helpers import (
    SESSION,
    STEP,
    assert_snapshots_right,
    create_session,
    create_step,
    snapshot,
)
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.fields import StateField
from weavegraph_checkpoints.triggers.operations import (
    InstallSnapshotTrigger,
    RemoveSnapshotTrigger,
)


def sees(scratch: BaseDatabaseWrapper) -> set[str]:
    """Return what is wrong with the triggers, kind by kind."""
    return {problem.kind for problem in triggers.problems(scratch)}


@pytest.mark.parametrize(
    "auto_field", ["django.db.models.BigAutoField", "django.db.models.AutoField"]
)
def test_no_migration_is_missing(auto_field: str) -> None:
    with override_settings(DEFAULT_AUTO_FIELD=auto_field):
        loader = MigrationLoader(None)
        detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
        assert APP not in detector.changes(graph=loader.graph)


def test_migrations_depend_on_no_other_app() -> None:
    loader = MigrationLoader(None)
    ours = [migration for key, migration in loader.disk_migrations.items() if key[0] == APP]
    assert {label for migration in ours for label, _ in migration.dependencies} == {APP}


def test_the_trigger_stands_after_migrate_and_goes_and_comes(
    scratch: BaseDatabaseWrapper,
) -> None:
    assert triggers.problems(scratch) == []
    migrate(scratch, "0001")
    assert sees(scratch) == {"missing"}
    migrate(scratch)
    assert triggers.problems(scratch) == []
    migrate(scratch, "zero")
    tables = scratch.introspection.table_names()
    assert SESSION not in tables
    assert STEP not in tables
    assert leftovers(scratch) == []
    migrate(scratch)
    assert triggers.problems(scratch) == []


def leftovers(scratch: BaseDatabaseWrapper) -> list[tuple[Any, ...]]:
    """Return the functions and triggers of the app that are still there."""
    return query(
        scratch,
        {
            "mysql": "SELECT trigger_name FROM information_schema.triggers"
            " WHERE trigger_schema = DATABASE()",
            "postgresql": "SELECT proname FROM pg_proc WHERE proname LIKE 'weavegraph%'",
            "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger'",
        }[scratch.vendor],
    )


def test_migrations_with_rows_go_back_and_forth(scratch: BaseDatabaseWrapper) -> None:
    create_session("a", using="scratch")
    create_step("a", 1, tag=1, using="scratch")
    migrate(scratch, "0001")
    create_step("a", 2, tag=2, using="scratch")
    assert snapshot("a", "scratch")["last_step"] == 1
    migrate(scratch)
    create_step("a", 3, tag=3, using="scratch")
    assert_snapshots_right("scratch")


def sqlmigrate(name: str, *, backwards: bool = False) -> str:
    out = io.StringIO()
    call_command("sqlmigrate", APP, name, database="scratch", backwards=backwards, stdout=out)
    return out.getvalue()


def test_sqlmigrate_shows_the_trigger(scratch: BaseDatabaseWrapper) -> None:
    forwards, backwards = sqlmigrate("0002"), sqlmigrate("0002", backwards=True)
    for trigger in triggers.definitions(scratch):
        assert all(statement in forwards for statement in trigger.create)
        assert all(statement in backwards for statement in trigger.drop)
        assert trigger.create[-1] not in backwards


@pytest.mark.vendor("postgresql")
def test_sqlmigrate_shows_the_compression(scratch: BaseDatabaseWrapper) -> None:
    shown = sqlmigrate("0001")
    assert f'ALTER TABLE "{STEP}" ALTER COLUMN "state" SET COMPRESSION lz4;' in shown
    assert f'ALTER TABLE "{SESSION}" ALTER COLUMN "last_state" SET COMPRESSION lz4;' in shown


class Later(Migration):
    """A later migration that alters a field of each table."""

    alterations = [
        AlterField("Keyframe", "root_id", models.BigIntegerField(default=0)),
        AlterField("Session", "status", models.CharField(max_length=20, db_default="empty")),
        AlterField("Step", "state", StateField(db_default=models.Value({}, StateField()))),
        AlterField("Step", "message_count", models.PositiveBigIntegerField(default=0)),
    ]


def apply(scratch: BaseDatabaseWrapper, operations: list[Any], *, backwards: bool = False) -> None:
    """Apply, or unapply, a migration with these operations after our newest."""
    migration = Later("9999_later", APP)
    migration.operations = operations
    state = MigrationLoader(scratch).project_state()
    with scratch.schema_editor(atomic=migration.atomic) as editor:
        if backwards:
            migration.unapply(state, editor)
        else:
            migration.apply(state, editor)


def test_a_later_alteration_with_the_documented_recipe(scratch: BaseDatabaseWrapper) -> None:
    create_session("a", using="scratch")
    create_step("a", 1, tag=1, using="scratch")
    operations = [RemoveSnapshotTrigger(), *Later.alterations, InstallSnapshotTrigger()]
    apply(scratch, operations)
    assert triggers.problems(scratch) == []
    create_step("a", 2, tag=2, using="scratch")
    assert_snapshots_right("scratch")
    apply(scratch, operations, backwards=True)
    assert triggers.problems(scratch) == []
    create_step("a", 3, tag=4, using="scratch")
    assert_snapshots_right("scratch")


@pytest.mark.vendor("sqlite")
class TestWithoutTheRecipe:
    """Why the recipe is needed: SQLite rebuilds a table that is altered."""

    def test_an_alteration_of_keyframes_drops_the_trigger(
        self, scratch: BaseDatabaseWrapper
    ) -> None:
        apply(scratch, Later.alterations[:1])
        assert sees(scratch) == {"missing"}

    @pytest.mark.parametrize("position", [1, 2, 3])
    def test_an_alteration_of_sessions_or_steps_fails(
        self, scratch: BaseDatabaseWrapper, position: int
    ) -> None:
        with pytest.raises(DatabaseError):
            apply(scratch, Later.alterations[position : position + 1])


@pytest.mark.vendor("postgresql")
def test_migrate_into_a_schema_other_than_public(empty_scratch: BaseDatabaseWrapper) -> None:
    scratch = empty_scratch
    execute(scratch, 'CREATE SCHEMA "Own schema"')
    scratch.close()
    scratch.settings_dict["OPTIONS"] = {"options": '-c search_path="Own\\ schema"'}
    migrate(scratch)
    assert query(scratch, "SELECT schemaname FROM pg_tables WHERE tablename = %s", STEP) == [
        ("Own schema",)
    ]
    assert triggers.problems(scratch) == []
    execute(scratch, "SET search_path = pg_catalog")
    write = '"Own schema"'
    execute(
        scratch,
        f"INSERT INTO {write}.{SESSION} (id, created_at, updated_at) VALUES ('a', now(), now())",
        f"INSERT INTO {write}.{STEP} (session_id, step, created_at, frontier, ran_nodes,"
        " skipped_nodes, versions_seen, state)"
        " VALUES ('a', 4, now(), '[]', '[]', '[]', '{}', '{}')",
        'SET search_path = "Own schema"',
    )
    assert_snapshots_right("scratch")
    assert snapshot("a", "scratch")["status"] == "finished"


def test_the_database_under_test_is_migrated(db: None) -> None:
    assert triggers.problems(connection) == []
