"""PostgreSQL: one schema per tenant, renamed and cloned, and many steps in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import execute, migrate
from tests.triggers.helpers import SESSION, STEP, assert_snapshots_right, content, create_step
from weavegraph_checkpoints import Checkpoint, VersionedState, triggers
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.vendor("postgresql")


def checkpoint(step: int, text: str = "") -> Checkpoint:
    return Checkpoint(
        session_id="a",
        step=step,
        state=VersionedState.new_with_user_message(text),
        frontier=["next"],
        versions_seen={},
    )


@contextmanager
def search_path(scratch: BaseDatabaseWrapper, path: str) -> Iterator[DjangoCheckpointer]:
    """Connect with a ``search_path``."""
    scratch.close()
    scratch.settings_dict["OPTIONS"] = {"options": f"-c search_path={path}"}
    yield DjangoCheckpointer(using="scratch")
    scratch.close()


def last_step(scratch: BaseDatabaseWrapper, schema: str) -> int:
    with scratch.cursor() as cursor:
        cursor.execute(f"SELECT last_step FROM {schema}.{SESSION} WHERE id = %s", ["a"])
        (step,) = cursor.fetchone()
    return int(step)


@pytest.fixture
def tenants(empty_scratch: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """The app migrated in ``public`` and in the schema ``t1``, a session ``a`` in each."""
    execute(empty_scratch, "CREATE SCHEMA t1")
    for path in ("public", "t1"):
        with search_path(empty_scratch, path) as checkpointer:
            migrate(empty_scratch)
            checkpointer.save(checkpoint(1))
    return empty_scratch


def test_a_renamed_schema_keeps_its_snapshots_to_itself(tenants: BaseDatabaseWrapper) -> None:
    execute(tenants, "ALTER SCHEMA t1 RENAME TO t2")
    with search_path(tenants, "t2,public") as checkpointer:
        checkpointer.save(checkpoint(9, "of the tenant"))
        latest = checkpointer.load_latest("a")
        assert latest is not None
        assert (latest.step, latest.state) == (9, checkpoint(9, "of the tenant").state)
        assert triggers.problems(tenants) == []
        assert (last_step(tenants, "t2"), last_step(tenants, "public")) == (9, 1)


def test_a_renamed_schema_works_without_tables_in_public(tenants: BaseDatabaseWrapper) -> None:
    execute(tenants, "ALTER SCHEMA t1 RENAME TO t2", "DROP SCHEMA public CASCADE")
    with search_path(tenants, "t2") as checkpointer:
        checkpointer.save(checkpoint(2))
        assert checkpointer.delete_session("a")
    execute(tenants, "CREATE SCHEMA public")


def test_a_trigger_whose_function_is_in_another_schema_writes_beside_its_own_table(
    tenants: BaseDatabaseWrapper,
) -> None:
    """A cloned schema may keep calling the function of the schema it was cloned from."""
    name = f"{STEP}_snapshot"
    statements = triggers.definitions(tenants)[0]
    with search_path(tenants, "t1,public") as checkpointer:
        execute(
            tenants,
            *statements.drop[:-1],
            *(
                text.replace(f'EXECUTE FUNCTION "{name}"', f'EXECUTE FUNCTION public."{name}"')
                for text in statements.create[1:]
            ),
            f'DROP FUNCTION t1."{name}"',
        )
        checkpointer.save(checkpoint(5))
        assert (last_step(tenants, "t1"), last_step(tenants, "public")) == (5, 1)


def test_the_path_of_the_caller_is_as_before(tenants: BaseDatabaseWrapper) -> None:
    with search_path(tenants, "public,t1") as checkpointer, transaction.atomic("scratch"):
        checkpointer.save(checkpoint(2))
        with tenants.cursor() as cursor:
            cursor.execute("SHOW search_path")
            assert cursor.fetchone() == ("public,t1",)


def test_a_temporary_table_of_the_same_name_is_not_written(tenants: BaseDatabaseWrapper) -> None:
    with search_path(tenants, "public") as checkpointer:
        execute(tenants, f"CREATE TEMPORARY TABLE {SESSION} (LIKE public.{SESSION})")
        execute(
            tenants,
            f"INSERT INTO public.{STEP} (session_id, step, created_at, frontier, ran_nodes,"
            " skipped_nodes, versions_seen, state) VALUES"
            " ('a', 7, now(), '[]', '[]', '[]', '{}', '{}')",
        )
        assert last_step(tenants, "public") == 7
        del checkpointer


def updates_of_sessions(scratch: BaseDatabaseWrapper) -> int:
    """Return the updates of session rows in the current transaction."""
    with scratch.cursor() as cursor:
        cursor.execute(
            "SELECT n_tup_upd FROM pg_stat_xact_user_tables WHERE relname = %s", [SESSION]
        )
        (count,) = cursor.fetchone()
    return int(count)


@pytest.mark.parametrize("count", [10, 200])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_one_statement_of_many_steps_updates_the_session_a_few_times(
    scratch: BaseDatabaseWrapper, count: int, order: str
) -> None:
    Session.objects.using("scratch").create(id="a")
    steps = [Step(session_id="a", step=step, **content(step)) for step in range(1, count + 1)]
    with transaction.atomic("scratch"):
        Step.objects.using("scratch").bulk_create(steps if order == "ascending" else steps[::-1])
        assert updates_of_sessions(scratch) <= 4
    assert Session.objects.using("scratch").get(id="a").revision == count
    assert_snapshots_right("scratch")


def test_steps_of_several_sessions_in_turns(scratch: BaseDatabaseWrapper) -> None:
    for session_id in "ab":
        Session.objects.using("scratch").create(id=session_id)
    Step.objects.using("scratch").bulk_create(
        Step(session_id=session_id, step=step, **content(step))
        for step in (3, 2, 1)
        for session_id in "ab"
    )
    assert {each.revision for each in Session.objects.using("scratch").all()} == {3}
    assert_snapshots_right("scratch")


def test_a_savepoint_that_is_rolled_back_takes_its_count_along(
    scratch: BaseDatabaseWrapper,
) -> None:
    Session.objects.using("scratch").create(id="a")
    with transaction.atomic("scratch"):
        create_step("a", 5, using="scratch")
        with transaction.atomic("scratch"):
            create_step("a", 4, using="scratch")
            create_step("a", 3, using="scratch")
            transaction.set_rollback(True, using="scratch")
        create_step("a", 2, using="scratch")
    assert Session.objects.using("scratch").get(id="a").revision == 2
    assert_snapshots_right("scratch")
    assert connections["scratch"].is_usable()
