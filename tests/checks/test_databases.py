"""The warnings about a database: given when due, and silent otherwise."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.builders import save_history
from tests.scratch import execute, migrate
from tests.triggers.helpers import KEYFRAME, LABEL, SESSION, STEP
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.checks import check_databases, check_settings, check_vendors
from weavegraph_checkpoints.models import Session

PREFIX = "weavegraph_checkpoints"
HINT = "run manage.py check_checkpoints --repair --database scratch."


def run_hint(message: checks.CheckMessage) -> None:
    """Run the command that a hint ends with."""
    command = str(message.hint).rpartition("manage.py ")[2].removesuffix(".")
    call_command(*command.split(), verbosity=0, stdout=io.StringIO())


def warnings(alias: str = "scratch") -> dict[str, checks.CheckMessage]:
    """Return the warnings for a database by the ends of their ids."""
    found = check_databases(databases=[alias])
    assert all(message.level == checks.WARNING for message in found)
    return {message.id.removeprefix(f"{PREFIX}."): message for message in found}


def test_the_checks_are_registered() -> None:
    registered = checks.registry.registry.get_checks()
    assert {check_settings, check_vendors, check_databases} <= set(registered)
    assert checks.Tags.database in check_databases.tags
    assert checks.Tags.database not in check_settings.tags
    assert checks.Tags.database not in check_vendors.tags


def test_a_good_database_is_good(scratch: BaseDatabaseWrapper) -> None:
    assert warnings() == {}


@pytest.mark.parametrize("databases", [None, [], ()])
def test_silence_unless_databases_are_named(scratch: BaseDatabaseWrapper, databases: Any) -> None:
    triggers.remove("scratch")
    assert check_databases(databases=databases) == []
    assert check_databases() == []


class TestTrigger:
    def test_missing(self, scratch: BaseDatabaseWrapper) -> None:
        triggers.remove("scratch")
        found = check_databases(databases=["scratch"])
        assert {message.id for message in found} == {f"{PREFIX}.W001"}
        names = [trigger.name for trigger in triggers.definitions(scratch)]
        for message, name in zip(found, names, strict=True):
            assert message.msg == f"The trigger {name} is missing (database 'scratch')."
            assert str(message.hint).endswith(HINT)

    def test_altered(self, scratch: BaseDatabaseWrapper) -> None:
        trigger = triggers.definitions(scratch)[0]
        altered = [text.replace("revision + 1", "revision + 2") for text in trigger.create]
        execute(scratch, *trigger.drop, *altered)
        message = warnings()["W002"]
        assert trigger.name in message.msg
        assert str(message.hint).endswith(HINT)

    @pytest.mark.vendor("postgresql")
    def test_disabled(self, scratch: BaseDatabaseWrapper) -> None:
        execute(scratch, f"ALTER TABLE {STEP} DISABLE TRIGGER {STEP}_snapshot")
        (message,) = warnings().values()
        assert message.id == f"{PREFIX}.W003"
        assert str(message.hint).endswith(HINT)
        run_hint(message)
        assert warnings() == {}

    def test_the_hint_repairs_trigger_and_snapshots(self, scratch: BaseDatabaseWrapper) -> None:
        save_history(DjangoCheckpointer("scratch"), "a", [1])
        triggers.remove("scratch")
        save_history(DjangoCheckpointer("scratch"), "a", [2])
        assert Session.objects.using("scratch").get().last_step == 1
        run_hint(warnings()["W001"])
        assert warnings() == {}
        assert Session.objects.using("scratch").get().last_step == 2


class TestSilence:
    """Nothing is said where nothing can be wrong yet, or where the app is not."""

    def test_while_no_migration_is_applied(self, empty_scratch: BaseDatabaseWrapper) -> None:
        assert warnings() == {}

    def test_while_a_migration_is_unapplied(self, scratch: BaseDatabaseWrapper) -> None:
        migrate(scratch, "0001")
        assert warnings() == {}

    def test_while_a_table_is_missing(self, scratch: BaseDatabaseWrapper) -> None:
        for table in (LABEL, STEP, KEYFRAME, SESSION):
            execute(scratch, f"DROP TABLE {table}")
            assert warnings() == {}

    def test_where_a_router_forbids(self, scratch: BaseDatabaseWrapper, settings: Any) -> None:
        triggers.remove("scratch")
        settings.DATABASE_ROUTERS = ["tests.routers.DefaultOnlyRouter"]
        assert warnings() == {}

    def test_on_a_vendor_that_is_not_supported(
        self, scratch: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        triggers.remove("scratch")
        monkeypatch.setattr(scratch, "vendor", "oracle")
        assert warnings() == {}

    def test_without_migrations_the_tables_decide(
        self, scratch: BaseDatabaseWrapper, settings: Any
    ) -> None:
        settings.MIGRATION_MODULES = {PREFIX: None}
        triggers.remove("scratch")
        assert set(warnings()) == {"W001"}


def test_warnings_do_not_block_migrate(
    scratch: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    triggers.remove("scratch")
    assert "W001" in warnings()
    migrate(scratch)
    migrate(scratch, "zero")
    migrate(scratch)
    assert warnings() == {}


def test_manage_py_check_shows_them(scratch: BaseDatabaseWrapper) -> None:
    triggers.remove("scratch")
    shown = io.StringIO()
    call_command("check", databases=["scratch"], stdout=shown, stderr=shown)
    assert f"({PREFIX}.W001)" in shown.getvalue()


@pytest.mark.vendor("sqlite")
class TestSQLite:
    @pytest.mark.parametrize("mode", [None, "DEFERRED", "deferred", ""])
    def test_transactions_that_do_not_begin_immediate(
        self, scratch: BaseDatabaseWrapper, mode: str | None
    ) -> None:
        scratch.settings_dict["OPTIONS"]["transaction_mode"] = mode
        message = warnings()["W005"]
        assert "'scratch'" in message.msg
        assert '"transaction_mode"' in str(message.hint)
        assert "IMMEDIATE" in str(message.hint)

    def test_no_option_at_all(self, scratch: BaseDatabaseWrapper) -> None:
        del scratch.settings_dict["OPTIONS"]["transaction_mode"]
        assert set(warnings()) == {"W005"}

    @pytest.mark.parametrize("mode", ["IMMEDIATE", "immediate", "EXCLUSIVE"])
    def test_transactions_that_wait(self, scratch: BaseDatabaseWrapper, mode: str) -> None:
        scratch.settings_dict["OPTIONS"]["transaction_mode"] = mode
        assert warnings() == {}


def test_a_database_that_keeps_its_times_elsewhere(scratch: BaseDatabaseWrapper) -> None:
    scratch.settings_dict["TIME_ZONE"] = "Asia/Tokyo"
    scratch.__dict__.pop("timezone_name", None)
    message = warnings()["W007"]
    assert "Asia/Tokyo" in message.msg
    assert '"TIME_ZONE"' in str(message.hint)


@pytest.mark.vendor("mysql")
class TestPacket:
    """``2 × MAX_STATE_BYTES + 64 kB`` must go into one packet."""

    @pytest.fixture
    def largest(self, scratch: BaseDatabaseWrapper) -> int:
        with scratch.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            return int((cursor.fetchone()[0] - 64 * 1024) // 2)

    def test_that_is_just_large_enough(self, settings: Any, largest: int) -> None:
        settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": largest}
        assert warnings() == {}

    def test_that_is_just_too_small(self, settings: Any, largest: int) -> None:
        settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": largest + 1}
        message = warnings()["W006"]
        assert f"MAX_STATE_BYTES = {largest + 1}" in message.msg
        assert str(2 * (largest + 1) + 64 * 1024) in str(message.hint)

    @pytest.mark.parametrize("value", [None, 0])
    def test_without_a_limit_or_with_a_malformed_one(
        self, scratch: BaseDatabaseWrapper, settings: Any, value: int | None
    ) -> None:
        settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": value}
        assert warnings() == {}


class TestEncoding:
    @pytest.mark.vendor("postgresql")
    def test_postgresql(self, scratch: BaseDatabaseWrapper) -> None:
        """A database with another encoding, under the same alias."""
        name = scratch.settings_dict["NAME"]
        scratch.close()
        with connections["default"].cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(
                f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
            )
        try:
            migrate(scratch)
            assert set(warnings()) == {"W010"}
            assert "LATIN1" in warnings()["W010"].msg
        finally:
            scratch.close()
            with connections["default"].cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name}")
                cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")

    @pytest.mark.vendor("sqlite")
    def test_sqlite(self, empty_scratch: BaseDatabaseWrapper) -> None:
        options = empty_scratch.settings_dict["OPTIONS"]
        options["init_command"] = "PRAGMA encoding = 'UTF-16'"
        migrate(empty_scratch)
        assert set(warnings()) == {"W010"}
        assert "UTF-16le" in warnings()["W010"].msg

    @pytest.mark.vendor("mysql")
    @pytest.mark.parametrize("charset", ["latin1", "utf8mb3"])
    def test_mariadb(self, scratch: BaseDatabaseWrapper, charset: str) -> None:
        scratch.close()
        scratch.settings_dict["OPTIONS"]["charset"] = charset
        assert set(warnings()) == {"W010"}
        assert charset in warnings()["W010"].msg


@pytest.mark.vendor("mysql")
@pytest.mark.parametrize("mode", ["EMPTY_STRING_IS_NULL", "ORACLE"])
def test_sql_modes_that_break_saves_or_migrations(scratch: BaseDatabaseWrapper, mode: str) -> None:
    scratch.close()
    scratch.settings_dict["OPTIONS"]["init_command"] = f"SET SESSION sql_mode = '{mode}'"
    assert set(warnings()) == {"W011"}
    assert mode in warnings()["W011"].msg
