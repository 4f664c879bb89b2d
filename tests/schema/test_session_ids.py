"""``SessionIdField``: any text but the impossible, byte for byte, sorted by code point."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from hypothesis import given

from tests.strategies import session_ids
from weavegraph_checkpoints.fields import SessionIdField
from weavegraph_checkpoints.models import Session, Step

ALIKE = [
    "a",
    "A",
    "á",
    "a ",
    " a",
    "a\t",
    "a\n",
    "ａ",
    "a\u0301",
    "\u00e1",
    "ß",
    "ss",
    "ı",
    "i",
    "I",
]
SORTED = ["", " ", "!", "A", "B", "Z", "_", "a", "a ", "a!", "aa", "b", "~", "\x7f", "é", "ÿ", "߿"]
ASTRAL = ["\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]


@pytest.mark.django_db
class TestInTheDatabase:
    def test_ids_that_look_alike_are_different_sessions(self) -> None:
        ids = sorted(set(ALIKE))
        Session.objects.bulk_create(Session(pk=key) for key in ids)
        Step.objects.bulk_create(
            Step(session_id=key, step=position, frontier=[], state={})
            for position, key in enumerate(ids)
        )
        for position, key in enumerate(ids):
            assert Session.objects.get(pk=key).pk == key
            assert Session.objects.get(pk__in=[key]).pk == key
            assert [step.step for step in Step.objects.filter(session_id=key)] == [position]
            assert Session.objects.get(steps__step=position).pk == key
            assert Session.objects.get(pk=key).last_step == position

    def test_the_same_id_twice_is_refused(self) -> None:
        for key in ("a", "日本語", "\U0001f600 "):
            Session.objects.create(pk=key)
            with pytest.raises(IntegrityError), transaction.atomic():
                Session.objects.create(pk=key)

    def test_ids_sort_by_code_point(self) -> None:
        ids = sorted(set(SORTED[1:] + ASTRAL + ALIKE))
        Session.objects.bulk_create(Session(pk=key) for key in reversed(ids))
        assert list(Session.objects.order_by("pk").values_list("pk", flat=True)) == ids
        assert list(Session.objects.order_by("-pk").values_list("pk", flat=True)) == ids[::-1]
        middle = ids[len(ids) // 2]
        below = Session.objects.filter(pk__lt=middle).values_list("pk", flat=True)
        assert set(below) == {key for key in ids if key < middle}

    @pytest.mark.parametrize("field", ["owner", "forked_from"])
    def test_the_other_columns_are_compared_alike(self, field: str) -> None:
        values = sorted(set(SORTED + ASTRAL + ALIKE))
        Session.objects.bulk_create(
            Session(pk=str(position), **{field: value}) for position, value in enumerate(values)
        )
        for position, value in enumerate(values):
            assert [row.pk for row in Session.objects.filter(**{field: value})] == [str(position)]
        assert list(Session.objects.order_by(field).values_list(field, flat=True)) == values

    @pytest.mark.parametrize("character", ["x", "é", "日", "\U0001f600"])
    def test_255_characters_fit_whatever_their_bytes(self, character: str) -> None:
        key = character * 255
        Session.objects.create(pk=key, owner=key, forked_from=key)
        Step.objects.create(session_id=key, step=1, frontier=[], state={})
        assert Session.objects.get(owner=key, forked_from=key, steps__step=1).pk == key

    @given(session_id=session_ids(), other=session_ids())
    def test_any_id_comes_back(self, session_id: str, other: str) -> None:
        with transaction.atomic():
            for key in {session_id, other}:
                Session.objects.create(pk=key, owner=key)
            assert Session.objects.get(pk=session_id).owner == session_id
            assert Session.objects.filter(pk=session_id).count() == 1
            ordered = list(Session.objects.order_by("pk").values_list("pk", flat=True))
            assert ordered == sorted({session_id, other})
            transaction.set_rollback(True)


def cleaned(**values: str) -> None:
    Session(**{"id": "a", **values}).clean_fields()


@pytest.mark.parametrize("value", ["a", " ", "a b\n", "日本語", "x" * 255, "\U0001f600" * 255])
def test_clean_accepts(value: str) -> None:
    cleaned(id=value, owner=value, forked_from=value)


@pytest.mark.parametrize("value", ["\0", "a\0b", "\ud800", "x" * 256, "\U0001f600" * 256])
@pytest.mark.parametrize("field", ["id", "owner", "forked_from"])
def test_clean_refuses(field: str, value: str) -> None:
    with pytest.raises(ValidationError) as raised:
        cleaned(**{field: value})
    assert "invalid_session_id" in {
        error.code for errors in raised.value.error_dict.values() for error in errors
    }
    assert set(raised.value.error_dict) == {field}


def test_an_id_may_not_be_empty_and_an_owner_may() -> None:
    cleaned(owner="", forked_from="")
    with pytest.raises(ValidationError) as raised:
        cleaned(id="")
    assert set(raised.value.error_dict) == {"id"}


@pytest.mark.django_db
def test_full_clean_of_both_models() -> None:
    session = Session(pk="a ")
    session.full_clean()
    session.save()
    Step(session=session, step=2**63 - 1, frontier=["End"], state={"a": 1}).full_clean(
        exclude=["ran_nodes", "skipped_nodes", "versions_seen"]
    )


def test_forms_keep_the_spaces_of_an_id() -> None:
    field = Session._meta.get_field("id").formfield()
    assert field.clean(" a ") == " a "
    assert field.max_length == 255
    stripped = SessionIdField().formfield(strip=True)
    assert stripped.clean(" a ") == "a"


def test_it_is_written_into_migrations_without_its_length() -> None:
    name, path, args, kwargs = SessionIdField(primary_key=True).deconstruct()
    assert (name, args, kwargs) == (None, [], {"primary_key": True})
    assert path == "weavegraph_checkpoints.fields.SessionIdField"
    field = SessionIdField(*args, **kwargs)
    assert field.max_length == 255
    assert field.clone().deconstruct()[1:] == (path, args, kwargs)


def test_an_unknown_vendor_gets_an_ordinary_column() -> None:
    class Other:
        vendor = "other"
        data_types = {"CharField": "text(%(max_length)s)"}
        data_type_check_constraints: dict[str, Any] = {}
        ops = connection.ops

    parameters = SessionIdField().db_parameters(Other())
    assert parameters["type"] == "text(255)"
    assert parameters["collation"] is None


def test_a_foreign_key_is_compared_as_its_target() -> None:
    target = Session._meta.get_field("id").db_parameters(connection)
    foreign = Step._meta.get_field("session").db_parameters(connection)
    assert foreign["collation"] == target["collation"]
    assert foreign["type"] == target["type"]
    assert isinstance(Step._meta.get_field("session"), models.ForeignKey)
