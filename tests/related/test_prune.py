"""A prune honours ``on_delete``, and skips and reports protected sessions."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.builders import save_history
from tests.related.models import SET_SESSION, Basket, Invoice, Ledger, Line, Order, Profile
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.pruning import PruneResult, prune

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

ALL = RetentionPolicy(delete_inactive=timedelta(0))
IDS = ["a", "b", "c", "d", "e"]


@pytest.fixture(autouse=True)
def sessions() -> None:
    for session_id in IDS:
        save_history(DjangoCheckpointer(), session_id, [1, 2, 3])


def left() -> dict[str, int]:
    return {key: Step.objects.filter(session=key).count() for key in stored()}


def stored() -> list[str]:
    return list(Session.objects.order_by("pk").values_list("pk", flat=True))


def prune_twice(policy: RetentionPolicy, **options: Any) -> PruneResult:
    """Prune, and check the dry run before and that a second run finds nothing more."""
    would = prune(policy, dry_run=True, **options)
    result = prune(policy, **options)
    assert (would.steps, would.sessions) == (result.steps, result.sessions)
    assert (would.protected, would.first_protected) == (result.protected, result.first_protected)
    again = prune(policy, **options)
    assert (again.steps, again.sessions, again.finished) == (0, 0, True)
    assert again.protected == result.protected
    return result


def test_every_on_delete() -> None:
    save_history(DjangoCheckpointer(owner="kept"), SET_SESSION, [1])
    Line.objects.create(order=Order.objects.create(cascade_id="a"))
    orders = [
        Order.objects.create(**{f"{name}_id": "b"})
        for name in ("null", "default", "set", "unconstrained")
    ]
    Profile.objects.create(session_id="c")
    Basket.objects.create().sessions.set(["d"])
    result = prune_twice(RetentionPolicy(delete_inactive=timedelta(0), owner=""))
    assert (result.sessions, result.steps, result.protected) == (5, 15, 0)
    assert stored() == [SET_SESSION]
    keys = [
        Order.objects.values_list("null", "default", "set", "unconstrained").get(pk=each.pk)
        for each in orders
    ]
    assert keys == [
        (None, None, None, None),
        (None, None, None, None),
        (None, None, SET_SESSION, None),
        (None, None, None, "b"),
    ]
    assert not Line.objects.exists()
    assert not Profile.objects.exists()
    assert not Basket.sessions.through.objects.exists()


@pytest.mark.parametrize("batch_size", [1, 2, 4, 1000])
@pytest.mark.parametrize("protecting", [["b"], ["a", "b", "c"], IDS])
def test_protected_sessions_are_skipped_and_reported(
    batch_size: int, protecting: list[str]
) -> None:
    for number, session_id in enumerate(protecting):
        name = ["protect", "restrict", "cascade"][number % 3]
        order = Order.objects.create(**{f"{name}_id": session_id})
        if name == "cascade":
            Invoice.objects.create(order=order)
    result = prune_twice(ALL, batch_size=batch_size)
    assert left() == dict.fromkeys(protecting, 3)
    assert (result.sessions, result.protected) == (5 - len(protecting), len(protecting))
    assert result.first_protected == tuple(protecting)
    assert result.finished
    assert Order.objects.count() == len(protecting)


@pytest.mark.parametrize("batch_size", [1, 2, 1000])
def test_what_only_the_database_refuses(batch_size: int) -> None:
    """The dry run cannot know it, but no step of the session is lost."""
    Ledger.objects.create(session_id="c")
    for _ in range(2):
        result = prune(ALL, batch_size=batch_size)
        assert (result.protected, result.first_protected) == (1, ("c",))
        assert result.finished
        assert left() == {"c": 3}


@pytest.mark.parametrize("batch_size", [3, 1000])
def test_a_table_without_a_model(batch_size: int) -> None:
    quote = connection.ops.quote_name
    column = Session._meta.pk
    kind = column.db_type(connection)
    collation = column.db_parameters(connection).get("collation")
    collate = f" COLLATE {quote(collation)}" if collation else ""
    deferred = "" if connection.vendor == "mysql" else " DEFERRABLE INITIALLY DEFERRED"
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE foreign_rows (session_id {kind}{collate}, FOREIGN KEY (session_id)"
            f" REFERENCES {Session._meta.db_table} (id){deferred})"
        )
        try:
            cursor.execute("INSERT INTO foreign_rows VALUES (%s)", ["c"])
            result = prune(ALL, batch_size=batch_size)
            assert (result.protected, result.first_protected) == (1, ("c",))
            assert left() == {"c": 3}
        finally:
            cursor.execute("DROP TABLE foreign_rows")


def test_protected_sessions_do_not_use_up_the_batches() -> None:
    for session_id in ("a", "b", "c"):
        Order.objects.create(protect_id=session_id)
    result = prune(ALL, batch_size=3, max_batches=2)
    assert (result.sessions, result.protected, result.finished) == (2, 3, True)


def test_the_step_rule_applies_to_protected_sessions() -> None:
    Order.objects.create(protect_id="b")
    result = prune_twice(RetentionPolicy(delete_inactive=timedelta(0), keep_last=1))
    assert left() == {"b": 1}
    assert (result.sessions, result.steps, result.protected) == (4, 14, 1)


def test_only_the_first_ten_are_named() -> None:
    for number in range(12):
        session_id = f"p{number:02}"
        save_history(DjangoCheckpointer(), session_id, [1])
        Order.objects.create(protect_id=session_id)
    result = prune(ALL, dry_run=True)
    assert result.protected == 12
    assert result.first_protected == tuple(f"p{number:02}" for number in range(10))


def test_an_object_created_after_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is locked before it is checked for the last time."""
    from weavegraph_checkpoints import related

    find_protected = related.find_protected

    def create_then(*args: Any) -> list[str]:
        found = find_protected(*args)
        if not Order.objects.exists():
            Order.objects.create(protect_id="c")
        return found

    monkeypatch.setattr(related, "find_protected", create_then)
    result = prune(ALL, batch_size=1)
    assert (result.sessions, result.protected) == (4, 1)
    assert left() == {"c": 3}


def test_the_command_names_them() -> None:
    for session_id in ("b", "d"):
        Order.objects.create(protect_id=session_id)
    for dry_run in (True, False):
        out = io.StringIO()
        call_command("prune_checkpoints", delete_inactive="0d", dry_run=dry_run, stdout=out)
        message = '  2 sessions not deleted, because other objects refer to them: "b", "d"'
        assert message in out.getvalue().splitlines()
    assert stored() == ["b", "d"]


def test_the_number_of_queries_does_not_depend_on_the_objects() -> None:
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as captured:
            prune(ALL)
        counts.append(len(captured))
        for session_id in IDS:
            save_history(DjangoCheckpointer(), session_id, [1, 2, 3])
            for _ in range(3):
                Profile.objects.update_or_create(session_id=session_id)
                Order.objects.create(null_id=session_id)
    assert counts[0] == counts[1]
