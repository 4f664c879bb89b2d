"""Installing by hand, inspection, and projects that test without migrations."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import execute, migrate
from tests.triggers.helpers import (
    STEP,
    assert_snapshots_right,
    create_session,
    create_step,
)
from weavegraph_checkpoints import triggers

NO_MIGRATIONS = {"weavegraph_checkpoints": None}


class NoMigrationsAtAll:
    """What test tools set ``MIGRATION_MODULES`` to, so that no app has migrations."""

    def __contains__(self, item: str) -> bool:
        return True

    def __getitem__(self, item: str) -> None:
        return None


def kinds(scratch: BaseDatabaseWrapper) -> list[str]:
    return [problem.kind for problem in triggers.problems(scratch)]


def test_install_and_remove_by_hand_once_or_twice(scratch: BaseDatabaseWrapper) -> None:
    for act, left in ((triggers.remove, "missing"), (triggers.install, None)):
        for _ in range(2):
            act(using="scratch")
            assert set(kinds(scratch)) == ({left} if left else set())
    create_session("a", using="scratch")
    create_step("a", 3, tag=3, using="scratch")
    assert_snapshots_right("scratch")


def test_install_before_the_tables_fails_as_the_database_says(
    empty_scratch: BaseDatabaseWrapper,
) -> None:
    with pytest.raises(DatabaseError) as raised:
        triggers.install("scratch")
    assert "log_bin_trust_function_creators" not in str(raised.value)


def test_install_replaces_what_was_altered(scratch: BaseDatabaseWrapper) -> None:
    alter(scratch)
    triggers.install("scratch")
    assert kinds(scratch) == []


def alter(scratch: BaseDatabaseWrapper) -> None:
    """Put another trigger in the place of the first of ours, as an old version would be."""
    trigger = triggers.definitions(scratch)[0]
    statements = [text.replace("revision + 1", "revision + 2") for text in trigger.create]
    execute(scratch, *trigger.drop, *statements)


def test_problems_names_what_is_missing(scratch: BaseDatabaseWrapper) -> None:
    first, *others = triggers.definitions(scratch)
    execute(scratch, *first.drop)
    assert triggers.problems(scratch) == [triggers.Problem(trigger=first.name, kind="missing")]
    assert len(others) == {"postgresql": 0, "mysql": 2, "sqlite": 4}[scratch.vendor]


def test_problems_names_what_is_altered(scratch: BaseDatabaseWrapper) -> None:
    alter(scratch)
    name = triggers.definitions(scratch)[0].name
    assert triggers.problems(scratch) == [triggers.Problem(trigger=name, kind="altered")]


OTHER_EVENTS = {
    "mysql": [("AFTER INSERT", "BEFORE INSERT"), ("AFTER INSERT", "AFTER UPDATE")],
    "postgresql": [
        ("OR UPDATE", "OR UPDATE OF step"),
        ("INSERT OR UPDATE", "UPDATE"),
        ("EACH ROW", "EACH STATEMENT"),
        ("INSERT OR UPDATE OR DELETE", "INSERT"),
        ("FOR EACH ROW", "FOR EACH ROW WHEN (pg_trigger_depth() = 9)"),
    ],
    "sqlite": [("AFTER INSERT", "BEFORE INSERT"), ("AFTER INSERT", "AFTER UPDATE")],
}


def test_a_trigger_of_our_name_on_other_events_is_altered(scratch: BaseDatabaseWrapper) -> None:
    trigger = triggers.definitions(scratch)[0]
    for ours, theirs in OTHER_EVENTS[scratch.vendor]:
        execute(scratch, *trigger.drop, *trigger.create[:-1])
        execute(scratch, trigger.create[-1].replace(ours, theirs, 1))
        assert kinds(scratch) == ["altered"], theirs


def test_a_trigger_of_our_name_on_another_table_is_not_ours(
    scratch: BaseDatabaseWrapper,
) -> None:
    trigger = triggers.definitions(scratch)[0]
    execute(
        scratch,
        *trigger.drop,
        f"CREATE TABLE other_table AS SELECT * FROM {STEP}",
        *(text.replace(f'ON "{STEP}"', "ON other_table") for text in trigger.create[:-1]),
        trigger.create[-1]
        .replace(f'ON "{STEP}"', "ON other_table")
        .replace(f"ON `{STEP}`", "ON other_table"),
    )
    assert kinds(scratch) != []


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize(
    ("state", "left"),
    [("DISABLE", ["disabled"]), ("ENABLE REPLICA", ["disabled"]), ("ENABLE ALWAYS", [])],
)
def test_a_disabled_trigger(scratch: BaseDatabaseWrapper, state: str, left: list[str]) -> None:
    execute(scratch, f"ALTER TABLE {STEP} {state} TRIGGER {STEP}_snapshot")
    assert kinds(scratch) == left
    triggers.install("scratch")
    assert kinds(scratch) == []


@pytest.mark.parametrize("vendor", ["oracle", "mysql"])
def test_nothing_is_defined_for_other_vendors(
    scratch: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch, vendor: str
) -> None:
    monkeypatch.setattr(scratch, "vendor", vendor)
    monkeypatch.setattr(scratch, "mysql_is_mariadb", False, raising=False)
    assert not triggers.supports(scratch)
    assert triggers.definitions(scratch) == []
    assert triggers.problems(scratch) == []


class TestWithoutMigrations:
    """``post_migrate`` installs the trigger where the app has no migrations."""

    @pytest.mark.parametrize("modules", [NO_MIGRATIONS, NoMigrationsAtAll()])
    def test_after_run_syncdb(
        self, empty_scratch: BaseDatabaseWrapper, settings: Any, modules: Any
    ) -> None:
        settings.MIGRATION_MODULES = modules
        call_command("migrate", database="scratch", run_syncdb=True, verbosity=0)
        assert kinds(empty_scratch) == []
        create_session("a", using="scratch")
        create_step("a", 0, tag=1, using="scratch")
        assert_snapshots_right("scratch")
        call_command("migrate", database="scratch", run_syncdb=True, verbosity=0)
        assert kinds(empty_scratch) == []

    def test_before_the_tables_are_made(
        self, empty_scratch: BaseDatabaseWrapper, settings: Any
    ) -> None:
        settings.MIGRATION_MODULES = NO_MIGRATIONS
        call_command("migrate", "contenttypes", database="scratch", verbosity=0)
        assert STEP not in empty_scratch.introspection.table_names()

    def test_where_a_router_forbids(
        self, empty_scratch: BaseDatabaseWrapper, settings: Any
    ) -> None:
        settings.MIGRATION_MODULES = NO_MIGRATIONS
        settings.DATABASE_ROUTERS = ["tests.routers.DefaultOnlyRouter"]
        call_command("migrate", database="scratch", run_syncdb=True, verbosity=0)
        assert STEP not in empty_scratch.introspection.table_names()

    def test_with_migrations_nothing_is_put_in_their_place(
        self, scratch: BaseDatabaseWrapper
    ) -> None:
        triggers.remove("scratch")
        migrate(scratch)
        assert set(kinds(scratch)) == {"missing"}
