"""Statements of the docs about databases, tested on the database of the settings."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.db.utils import ConnectionHandler
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from example_project.database_url import SAFE_OPTIONS
from tests.docs.code_blocks import run_block, run_blocks
from tests.docs.markdown import page
from tests.settings.base import BEHIND_PGBOUNCER
from weavegraph_checkpoints import Checkpoint, ConcurrencyConflict, VersionedState, triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

SETTINGS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        session_id="s",
        step=step,
        state=VersionedState.new_with_user_message(str(step)),
        frontier=["next"],
        versions_seen={},
    )


def documented_database(engine: str) -> dict[str, Any]:
    """Return the entry of DATABASES in ``docs/databases.md`` for an engine."""
    for block in page("databases").blocks:
        namespace: dict[str, Any] = {}
        if block.language == "python" and "DATABASES = {" in block.text:
            run_block(block, page("databases"), namespace)
            if namespace["DATABASES"]["default"]["ENGINE"] == engine:
                return namespace["DATABASES"]["default"]
    raise AssertionError(engine)


@pytest.mark.parametrize("engine", SAFE_OPTIONS)
def test_the_example_project_uses_the_documented_options(engine: str) -> None:
    assert documented_database(engine)["OPTIONS"] == SAFE_OPTIONS[engine]


def test_the_pool_is_tested_with_the_documented_settings() -> None:
    (block,) = [each for each in page("databases").blocks if "SERVER_SIDE_CURSORS" in each.text]
    namespace: dict[str, Any] = {"DATABASES": {"default": {}}}
    run_block(block, page("databases"), namespace)
    assert namespace["DATABASES"]["default"] == {"PORT": 6432, **BEHIND_PGBOUNCER}


@pytest.mark.django_db(transaction=True)
def test_the_documented_options_are_in_force() -> None:
    own = connection.settings_dict
    documented = documented_database(own["ENGINE"])
    place = {key: own[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
    with_documented = ConnectionHandler({"default": {**documented, **place}})["default"]
    try:
        with with_documented.cursor() as cursor:
            assert (
                _in_force(cursor, connection.vendor)
                == {
                    "sqlite": ("wal", 2),
                    "postgresql": ("on", "read committed"),
                    "mysql": ("READ-COMMITTED", "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"),
                }[connection.vendor]
            )
    finally:
        with_documented.close()


def _in_force(cursor: Any, vendor: str) -> tuple[Any, ...]:
    statements = {
        "sqlite": ("PRAGMA journal_mode", "PRAGMA synchronous"),
        "postgresql": ("SHOW synchronous_commit", "SHOW transaction_isolation"),
        "mysql": ("SELECT @@tx_isolation", "SELECT @@sql_mode"),
    }
    values = []
    for statement in statements[vendor]:
        cursor.execute(statement)
        values.append(cursor.fetchone()[0])
    return tuple(values)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_the_documented_options_leave_no_warning() -> None:
    assert connection.settings_dict["OPTIONS"] == SAFE_OPTIONS[connection.settings_dict["ENGINE"]]
    messages = run_checks(databases=["default", "other"])
    assert [each for each in messages if each.id and each.id.startswith("weavegraph")] == []


@pytest.mark.django_db(transaction=True)
def test_the_statements_of_a_save() -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.save(checkpoint(0))
    for step, expected in ((1, None), (1, None), (2, 1)):
        with CaptureQueriesContext(connection) as captured:
            checkpointer.save_with_concurrency_check(checkpoint(step), expected)
        verbs = [query["sql"].split()[0] for query in captured]
        assert (
            verbs
            == {
                "sqlite": ["INSERT"],
                "postgresql": ["WITH"],
                "mysql": ["BEGIN", "SELECT", "INSERT", "COMMIT"],
            }[connection.vendor]
        )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("write", ["delete", "update"])
def test_on_mariadb_a_statement_that_writes_steps_may_not_name_sessions(write: str) -> None:
    DjangoCheckpointer().save(checkpoint(1))
    steps = Step.objects.filter(session__owner="")
    assert steps.count() == 1

    def attempt() -> None:
        if write == "delete":
            steps.delete()
        else:
            steps.update(error_count=3)

    if connection.vendor == "mysql":
        with pytest.raises(OperationalError) as caught:
            attempt()
        assert caught.value.args[0] == 1442
    else:
        attempt()


def test_the_recipe_of_a_later_migration(given: dict[str, Any]) -> None:
    from django.db.migrations.loader import MigrationLoader

    namespace = run_blocks(page("schema"), given)
    migration = namespace["Migration"]("0003_later", "weavegraph_checkpoints")
    before = MigrationLoader(connection).project_state(
        [("weavegraph_checkpoints", "0002_snapshot_trigger")]
    )
    with connection.schema_editor(atomic=migration.atomic) as editor:
        migration.apply(before.clone(), editor)
    try:
        assert triggers.problems(connection) == []
        DjangoCheckpointer().save(checkpoint(1))
        assert Session.objects.get(id="s").last_step == 1
    finally:
        with connection.schema_editor(atomic=migration.atomic) as editor:
            migration.unapply(before.clone(), editor)
    assert triggers.problems(connection) == []


def test_the_recipe_for_stale_snapshots(given: dict[str, Any]) -> None:
    checkpointer = DjangoCheckpointer()
    for step in (1, 2, 3):
        checkpointer.save(checkpoint(step))
    Session.objects.create(id="emptied")
    Step.objects.create(session_id="emptied", step=1, frontier=[], state={})
    triggers.remove()
    Step.objects.filter(step=3).delete()
    Step.objects.filter(session_id="emptied").delete()
    assert checkpointer.load_latest("s").step == 3  # type: ignore[union-attr]
    (block,) = (block for block in page("checks").blocks if "--repair" in block.text)
    call_command(*block.text.partition("manage.py ")[2].split())
    assert triggers.problems(connection) == []
    latest = checkpointer.load_latest("s")
    assert latest is not None
    assert latest.step == 2
    assert latest.state == checkpoint(2).state
    emptied = Session.objects.get(id="emptied")
    assert (emptied.status, emptied.last_state) == (Session.Status.EMPTY, None)


def test_rows_come_back_as_they_were_without_the_trigger(given: dict[str, Any]) -> None:
    for step in (1, 2):
        DjangoCheckpointer().save(checkpoint(step))
    stored = Session.objects.values().get(), list(Step.objects.values())
    sessions, steps = list(Session.objects.all()), list(Step.objects.all())
    for remove in (False, True):
        DjangoCheckpointer().delete_session("s")
        if remove:
            triggers.remove()
        Session.objects.bulk_create(sessions)
        Step.objects.bulk_create(steps)
        triggers.install()
        loaded = Session.objects.values().get(), list(Step.objects.values())
        assert (loaded == stored) is remove
        assert loaded[0]["last_state"] == stored[0]["last_state"]


def test_the_view_of_the_transactions_page(given: dict[str, Any]) -> None:
    namespace = run_blocks(page("transactions"), given)
    request = RequestFactory().post("/")
    response = namespace["advance"](request, "order-1")
    assert (response.status_code, response.content) == (200, b'{"step": 3}')

    def overtaken(step: int, session_id: str) -> Checkpoint:
        late = original(step, session_id)
        DjangoCheckpointer().save(late)
        return late

    original = namespace["checkpoint"]
    namespace["checkpoint"] = overtaken
    response = namespace["advance"](request, "order-1")
    assert (response.status_code, response.content) == (409, b'{"expected": 3, "actual": 4}')
    assert not given["Invoice"].objects.filter(number="order-1/4").exists()


@pytest.mark.django_db(transaction=True)
def test_a_conflict_leaves_the_session_locked_and_the_transaction_usable() -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.save(checkpoint(1))
    with transaction.atomic():
        with pytest.raises(ConcurrencyConflict):
            checkpointer.save_with_concurrency_check(checkpoint(2), 0)
        checkpointer.save_with_concurrency_check(checkpoint(2), 1)
    latest = checkpointer.load_latest("s")
    assert latest is not None
    assert latest.step == 2
