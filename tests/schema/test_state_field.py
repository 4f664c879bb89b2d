"""``StateField`` and the small JSON columns by the ORM: exact, or refused before a write."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F, OuterRef, Subquery, Value
from hypothesis import given

from tests.assertions import as_read, assert_same
from tests.scratch import query
from tests.strategies import json_objects
from tests.triggers.helpers import SESSION, STEP
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.fields import StateField
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db


def nested(levels: int) -> Any:
    value: Any = "the bottom"
    for _ in range(levels):
        value = {"k": [value]}
    return value


EXACT: dict[str, Any] = {
    "a large float": 1e23,
    "the largest float": 1.7976931348623157e308,
    "the smallest float": 5e-324,
    "minus zero": -0.0,
    "a float that is whole": 1.0,
    "a short float": 0.1,
    "one": 1,
    "the largest counter": 2**64 - 1,
    "more than a counter": 2**64,
    "4299 digits": 10**4299 - 1,
    "4299 digits below zero": -(10**4299 - 1),
    "true": True,
    "null": None,
    "U+0000": "a\0b",
    "text about U+0000": "\\u0000",
    "both": "\\\0 \\\\u0000 \0",
    "every script": "日本語 العربية 👩‍👩‍👧 e\u0301 \U0010ffff \uffff",
    "escapes": '"\\/\b\f\n\r\t\x1f\x7f\u2028',
    "percent signs": "%s %(a)s {0} %%",
    "the order of keys": {"b": 1, "a": 2, "": 3, "0": 4},
    "keys that look alike": {"a": 1, "A": 2, "a ": 3, "á": 4, "a\0": 5},
    "1 beside 1.0": [1, 1.0, True, 0, -0.0, False, None],
    "empty containers": {"": {}, " ": [], "x": [[], {}, [{}]]},
    "depth": nested(90),
}
STATE = {"messages": {"version": 1, "items": []}, "extra": EXACT}


def create(state: Any = STATE, step: int = 1) -> Step:
    Session.objects.get_or_create(pk="a")
    return Step.objects.create(session_id="a", step=step, frontier=[], state=state)


def assert_exact(actual: Any, expected: Any) -> None:
    """Fail on any difference in value, type or the order of keys."""
    assert_same(actual, expected)
    assert json.dumps(actual) == json.dumps(expected)


@pytest.mark.parametrize("name", EXACT)
def test_what_is_read_equals_what_was_written(name: str) -> None:
    create({"value": EXACT[name]})
    assert_exact(Step.objects.get().state, {"value": EXACT[name]})
    assert_exact(Session.objects.get().last_state, {"value": EXACT[name]})


def test_by_every_way_to_read() -> None:
    step = create()
    step.refresh_from_db(fields=["state"])
    assert_exact(step.state, STATE)
    for values in (Step.objects.values_list("state"), Session.objects.values_list("last_state")):
        assert_exact(values.get()[0], STATE)
    assert_exact(Step.objects.values("state", "session__last_state").get()["state"], STATE)
    assert_exact(Step.objects.select_related("session").get().session.last_state, STATE)
    assert_exact(Session.objects.prefetch_related("steps").get().steps.all()[0].state, STATE)
    assert_exact(Step.objects.defer("state").get().state, STATE)
    assert_exact(Step.objects.annotate(again=F("state")).get().again, STATE)
    newest = Step.objects.filter(session=OuterRef("pk")).order_by("-step").values("state")[:1]
    assert_exact(Session.objects.annotate(newest=Subquery(newest)).get().newest, STATE)
    assert_exact(next(Step.objects.iterator()).state, STATE)
    assert_exact(next(iter(Step.objects.raw(f"SELECT * FROM {STEP}"))).state, STATE)


def test_by_every_way_to_write() -> None:
    step = create({"first": True})
    other = {"again": STATE}
    step.state = other
    step.save()
    assert_exact(Step.objects.get().state, other)
    Step.objects.update(state=STATE)
    assert_exact(Step.objects.get().state, STATE)
    step.state = other
    Step.objects.bulk_update([step], ["state"])
    assert_exact(Step.objects.get().state, other)
    Step.objects.update(state=Value(STATE, StateField()))
    assert_exact(Step.objects.get().state, STATE)
    Step.objects.update_or_create(session_id="a", step=1, defaults={"state": other})
    assert_exact(Session.objects.get().last_state, other)
    Step.objects.all().delete()
    Step.objects.bulk_create([Step(session_id="a", step=2, frontier=[], state=STATE)])
    assert_exact(Session.objects.get().last_state, STATE)


def test_a_save_with_an_expression_reads_back_what_it_wrote() -> None:
    step = create({"first": True})
    step.state = Value({"exact": [1e23, -0.0, "\0"]}, StateField())
    step.save()
    step.refresh_from_db()
    assert_exact(step.state, {"exact": [1e23, -0.0, "\0"]})


def test_tuples_are_read_as_lists_and_scalars_are_documents() -> None:
    create({"value": (1, (2, {"k": ()}))})
    assert_exact(Step.objects.get().state, {"value": [1, [2, {"k": []}]]})
    for step, document in enumerate(([1, "x"], "text", 5, -0.0, True, {}), start=2):
        create(document, step)
        assert_exact(Step.objects.get(step=step).state, document)


def test_null_is_no_state_and_json_null_is_one() -> None:
    create()
    Session.objects.update(last_state=None)
    assert query(connection, f"SELECT last_state FROM {SESSION}") == [(None,)]
    assert Session.objects.get().last_state is None
    assert Session.objects.filter(last_state__isnull=True).exists()
    Session.objects.update(last_state=Value(None, StateField()))
    assert Session.objects.filter(last_state__isnull=False).exists()
    assert Session.objects.get().last_state is None


@given(state=json_objects())
def test_any_document(state: dict[str, Any]) -> None:
    with transaction.atomic():
        create(state)
        assert_same(Step.objects.get().state, as_read(state))
        assert_same(Session.objects.get().last_state, as_read(state))
        transaction.set_rollback(True)


REFUSED: list[tuple[Any, str]] = [
    (float("nan"), "$.k[0]"),
    (float("inf"), "$.k[0]"),
    (float("-inf"), "$.k[0]"),
    ("\ud800", "$.k[0]"),
    ({1: "x"}, "$.k[0]"),
    ({None: "x"}, "$.k[0]"),
    ({"\udfff": 1}, "$.k[0]"),
    (10**4299, "$.k[0]"),
    (b"bytes", "$.k[0]"),
    (bytearray(b"x"), "$.k[0]"),
    ({1, 2}, "$.k[0]"),
    (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "$.k[0]"),
    (datetime.date(2026, 1, 1), "$.k[0]"),
    (decimal.Decimal("1.5"), "$.k[0]"),
    (uuid.UUID(int=5), "$.k[0]"),
    (1j, "$.k[0]"),
    (object(), "$.k[0]"),
    (type("Text", (str,), {})("x"), "$.k[0]"),
    (nested(150), "$.k[0]"),
]


@pytest.mark.parametrize(("value", "path"), REFUSED, ids=lambda value: type(value).__name__)
def test_what_json_cannot_hold_is_refused_with_its_path(value: Any, path: str) -> None:
    step = create()
    before = Session.objects.values().get()
    for write in (
        lambda: create({"k": [value]}, step=2),
        lambda: Step.objects.update(state={"k": [value]}),
        lambda: Step.objects.bulk_create(
            [Step(session_id="a", step=2, frontier=[], state={"k": [value]})]
        ),
        lambda: Step.objects.update_or_create(
            session_id="a", step=2, defaults={"frontier": [], "state": {"k": [value]}}
        ),
    ):
        with pytest.raises(SerializationError) as raised, transaction.atomic():
            write()
        assert raised.value.path.startswith(path)
    assert Step.objects.get() == step
    assert Session.objects.values().get() == before


def test_a_stored_document_that_is_no_json_is_an_error_and_never_a_guess() -> None:
    text = '{"a": 1e999}' if connection.vendor == "postgresql" else '{"a": '
    create()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {STEP} SET state = %s", [text])
    with pytest.raises(SerializationError):
        Step.objects.get()


class TestSmallColumns:
    """Plain JSON columns: counters and names are exact on every database."""

    COUNTERS = {
        "Custom:plan": {"messages": 2**64 - 1, "extra": 2**63, "zero": 0},
        'Custom("plan")': {"a b": 2**53 + 1},
        "日本語": {"\U0001f600": 1, "": 2**64 - 2},
        "\\u0000": {"\\": 1},
    }
    NODES = ["Start", "End", "Custom:End", "Custom:é", "Custom:\\u0000", 'Custom:"', "x" * 1000]

    def test_they_come_back_and_reach_the_snapshot(self) -> None:
        Session.objects.create(pk="a")
        Step.objects.create(
            session_id="a",
            step=1,
            frontier=self.NODES,
            ran_nodes=self.NODES,
            skipped_nodes=self.NODES[::-1],
            updated_channels=["messages", "日本語"],
            versions_seen=self.COUNTERS,
            state={},
        )
        step, session = Step.objects.get(), Session.objects.get()
        assert_same(step.versions_seen, self.COUNTERS)
        assert_same(session.last_versions_seen, self.COUNTERS)
        assert_same([step.frontier, session.last_frontier], [self.NODES] * 2)
        assert_same([step.ran_nodes, step.skipped_nodes], [self.NODES, self.NODES[::-1]])
        assert_same(step.updated_channels, ["messages", "日本語"])

    def test_their_defaults(self) -> None:
        step = create()
        step.refresh_from_db()
        assert (step.ran_nodes, step.skipped_nodes, step.versions_seen) == ([], [], {})
        assert step.updated_channels is None
        assert (step.message_count, step.error_count, step.state_bytes) == (None, None, None)


def test_it_is_written_into_migrations_as_it_is() -> None:
    name, path, args, kwargs = StateField(null=True).deconstruct()
    assert (name, path) == (None, "weavegraph_checkpoints.fields.StateField")
    assert (args, kwargs) == ([], {"null": True})


def test_an_unknown_vendor_gets_an_ordinary_json_column() -> None:
    class Other:
        vendor = "other"
        data_types = {"JSONField": "json-like"}
        data_type_check_constraints = {"JSONField": "CHECK"}
        ops = connection.ops

    parameters = StateField().db_parameters(Other())
    assert parameters["type"] == "json-like"
    assert parameters["check"] is None
    assert "collation" not in parameters or parameters["collation"] is None


def test_names_of_rows() -> None:
    step = create(step=7)
    assert str(step) == "a · 7"
    assert str(step.session) == "a"
