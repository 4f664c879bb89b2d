"""``delete_session`` does to other models' objects what their ``on_delete`` says."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError, RestrictedError
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext

from tests.builders import everything_stored, save_history
from tests.related.models import SET_SESSION, Basket, Invoice, Ledger, Line, Order, Profile, Tag
from weavegraph_checkpoints import SessionProtected
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def checkpointer() -> DjangoCheckpointer:
    checkpointer = DjangoCheckpointer()
    for session_id in ("a", "b", SET_SESSION):
        save_history(checkpointer, session_id, [1, 2])
    return checkpointer


def ids() -> set[str]:
    return set(Session.objects.values_list("pk", flat=True))


def test_cascade_deletes_the_objects_and_those_that_refer_to_them(
    checkpointer: DjangoCheckpointer,
) -> None:
    for session_id in ("a", "a", "b"):
        Line.objects.create(order=Order.objects.create(cascade_id=session_id))
    Profile.objects.create(session_id="a")
    Basket.objects.create().sessions.set(["a", "b"])
    assert checkpointer.delete_session("a") is True
    assert ids() == {"b", SET_SESSION}
    assert set(Step.objects.values_list("session_id", flat=True)) == {"b", SET_SESSION}
    assert list(Order.objects.values_list("cascade", flat=True)) == ["b"]
    assert list(Line.objects.values_list("order__cascade", flat=True)) == ["b"]
    assert not Profile.objects.exists()
    assert list(Basket.objects.get().sessions.values_list("pk", flat=True)) == ["b"]


def test_a_single_object_does_not_hide_the_others(checkpointer: DjangoCheckpointer) -> None:
    """Django deletes a single object in a shorter way."""
    order = Order.objects.create(cascade_id="a", null_id="a")
    other = Order.objects.create(null_id="a")
    Profile.objects.create(session_id="a")
    assert checkpointer.delete_session("a") is True
    assert not Order.objects.filter(pk=order.pk).exists()
    assert Order.objects.get(pk=other.pk).null is None
    assert not Profile.objects.exists()


@pytest.mark.parametrize(
    ("name", "left"), [("null", None), ("default", None), ("set", SET_SESSION)]
)
def test_the_key_is_set(checkpointer: DjangoCheckpointer, name: str, left: str | None) -> None:
    order = Order.objects.create(**{f"{name}_id": "a"})
    assert checkpointer.delete_session("a") is True
    assert getattr(Order.objects.get(pk=order.pk), f"{name}_id") == left


def test_a_key_without_constraint_is_left(checkpointer: DjangoCheckpointer) -> None:
    order = Order.objects.create(unconstrained_id="a")
    assert checkpointer.delete_session("a") is True
    assert Order.objects.get(pk=order.pk).unconstrained_id == "a"


@pytest.mark.parametrize(
    ("name", "cause"), [("protect", ProtectedError), ("restrict", RestrictedError)]
)
def test_a_protected_session_is_refused_and_nothing_changes(
    checkpointer: DjangoCheckpointer, name: str, cause: type[Exception]
) -> None:
    order = Order.objects.create(**{f"{name}_id": "a"}, cascade_id="a")
    if name == "restrict":  # Django allows what is deleted by a cascade anyway.
        order = Order.objects.create(restrict_id="a")
    before = everything_stored()
    with pytest.raises(SessionProtected, match="session 'a' is protected by") as e:
        checkpointer.delete_session("a")
    assert (e.value.session_id, e.value.protected_by) == ("a", ("related.Order",))
    assert isinstance(e.value.__cause__, cause)
    assert str(pickle.loads(pickle.dumps(e.value))) == str(e.value)
    assert everything_stored() == before
    assert Order.objects.filter(pk=order.pk).exists()
    assert checkpointer.delete_session("b") is True


def test_a_restricted_object_that_a_cascade_deletes(checkpointer: DjangoCheckpointer) -> None:
    Order.objects.create(restrict_id="a", cascade_id="a")
    assert checkpointer.delete_session("a") is True
    assert not Order.objects.exists()


def test_protected_indirectly(checkpointer: DjangoCheckpointer) -> None:
    Invoice.objects.create(order=Order.objects.create(cascade_id="a"))
    with pytest.raises(SessionProtected) as e:
        checkpointer.delete_session("a")
    assert e.value.protected_by == ("related.Invoice",)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_do_nothing_leaves_it_to_the_database_which_refuses(
    checkpointer: DjangoCheckpointer, in_transaction: bool
) -> None:
    Ledger.objects.create(session_id="a")
    before = everything_stored()
    if in_transaction:
        with transaction.atomic(), pytest.raises(SessionProtected) as e:
            checkpointer.delete_session("a")
    else:
        with pytest.raises(SessionProtected) as e:
            checkpointer.delete_session("a")
    assert e.value.protected_by == ("related.Ledger",)
    assert isinstance(e.value.__cause__, IntegrityError)
    assert everything_stored() == before


def test_errors_of_other_constraints_are_not_wrapped(checkpointer: DjangoCheckpointer) -> None:
    def refuse(**kwargs: Any) -> None:
        raise IntegrityError("another constraint")

    Order.objects.create(cascade_id="a")
    pre_delete.connect(refuse, sender=Order)
    try:
        with pytest.raises(IntegrityError, match="another constraint"):
            checkpointer.delete_session("a")
    finally:
        pre_delete.disconnect(refuse, sender=Order)
    assert "a" in ids()


def test_signals_are_sent_for_the_objects(checkpointer: DjangoCheckpointer) -> None:
    seen = []

    def receive(instance: Any, using: str, **kwargs: Any) -> None:
        # The session still exists, and so do its steps.
        seen.append((instance.session_id, using, instance.session.steps.using(using).count()))

    save_history(DjangoCheckpointer("other"), "a", [1])
    Profile.objects.using("other").create(session_id="a")
    Profile.objects.create(session_id="a")
    pre_delete.connect(receive, sender=Profile)
    try:
        DjangoCheckpointer("other").delete_session("a")
    finally:
        pre_delete.disconnect(receive, sender=Profile)
    assert seen == [("a", "other", 1)]
    assert Profile.objects.count() == 1


def test_the_objects_of_another_owner_are_not_touched(checkpointer: DjangoCheckpointer) -> None:
    Order.objects.create(cascade_id="a", protect_id="a")
    assert DjangoCheckpointer(owner="you").delete_session("a") is False
    assert Order.objects.exists()


@pytest.fixture
def tags() -> Iterator[None]:
    GenericRelation(Tag).contribute_to_class(Session, "tags")
    yield
    Session._meta.private_fields[:] = [
        field for field in Session._meta.private_fields if field.name != "tags"
    ]
    Session._meta._expire_cache()
    del Session.tags  # type: ignore[attr-defined]


@pytest.mark.usefixtures("tags")
def test_a_generic_relation(checkpointer: DjangoCheckpointer) -> None:
    kind = ContentType.objects.get_for_model(Session)
    for session_id in ("a", "b"):
        Tag.objects.create(content_type=kind, object_id=session_id)
    assert checkpointer.delete_session("a") is True
    assert list(Tag.objects.values_list("object_id", flat=True)) == ["b"]


class _OnOther:
    """The tables of the shop are in ``default`` only."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == "default" if app_label == "related" else None


def test_a_model_of_another_database_is_ignored(
    checkpointer: DjangoCheckpointer, settings: Any
) -> None:
    settings.DATABASE_ROUTERS = [_OnOther()]
    save_history(DjangoCheckpointer("other"), "a", [1])
    with CaptureQueriesContext(connection):
        assert DjangoCheckpointer("other").delete_session("a") is True
