"""Look-ups by key path in states, beside rows that a database cannot look into."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import Count, F, Q

from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.querysets import StepQuerySet

pytestmark = pytest.mark.django_db


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"k": value}
    return value


VALUES: dict[str, Any] = {
    "ten": {"number": 10, "text": "x", "flag": True, "nothing": None, "list": [1, {"at": "y"}]},
    "two": {"number": 2, "text": "X", "flag": False, "list": [2, {"at": "z"}, 3]},
    "half": {"number": 2.5, "text": "", "flag": None, "list": [], "a b": {"é": {"'": '"%s'}}},
    "without": {"other": 1},
    "zero byte": {"number": 10, "text": "a\0b", "flag": True, "list": [1]},
    "zero byte in a key": {"number": 10, "x\0": 1},
    "about zero": {"number": 7, "text": "\\u0000", "flag": True},
    "about zero and a backslash": {"number": 8, "text": "\\\\u0000 \\\\\\\\u0000", "list": [8]},
    "deep": {"number": 10, "text": "x", "deep": nested(60)},
}
BLIND = {
    "postgresql": {"zero byte", "zero byte in a key"},
    "mysql": {"deep"},
    "sqlite": set(),
}
MAP = "state__extra__map__"


@pytest.fixture(autouse=True)
def rows(db: None) -> None:
    Session.objects.bulk_create(Session(pk=name) for name in VALUES)
    for step, (name, value) in enumerate(VALUES.items()):
        state = {"extra": {"version": 1, "map": value}}
        Step.objects.create(session_id=name, step=step, frontier=[], state=state)


def seen(*names: str) -> set[str]:
    """Return those of the sessions that the database can look into."""
    return set(names) - BLIND[connection.vendor]


def found(*conditions: Q, **lookups: Any) -> set[str]:
    """Return the sessions that steps are found for, and check that sessions agree."""
    steps = set(Step.objects.filter(*conditions, **lookups).values_list("session_id", flat=True))
    of_sessions = {f"last_{name}": value for name, value in lookups.items()}
    if not conditions:
        sessions = Session.objects.filter(**of_sessions).values_list("pk", flat=True)
        assert set(sessions) == steps
        joined = {f"steps__{name}": value for name, value in lookups.items()}
        assert set(Session.objects.filter(**joined).values_list("pk", flat=True)) == steps
    return steps


@pytest.mark.parametrize(
    ("lookup", "value", "names"),
    [
        ("number", 10, ["ten", "zero byte", "zero byte in a key", "deep"]),
        ("number", 2.5, ["half"]),
        ("number", 7, ["about zero"]),
        ("number", 99, []),
        ("text", "x", ["ten", "deep"]),
        ("text", "X", ["two"]),
        ("text", "", ["half"]),
        ("text", "\\u0000", ["about zero"]),
        ("text", "\\\\u0000 \\\\\\\\u0000", ["about zero and a backslash"]),
        ("flag", True, ["ten", "zero byte", "about zero"]),
        ("flag", False, ["two"]),
        ("flag", None, ["half"]),
        ("nothing", None, ["ten"]),
        ("list__0", 1, ["ten", "zero byte"]),
        ("list__1__at", "z", ["two"]),
        ("list__2", 3, ["two"]),
        ("list", [8], ["about zero and a backslash"]),
        ("list", [], ["half"]),
        ("a b__é__'", '"%s', ["half"]),
        ("list__1", {"at": "y"}, ["ten"]),
    ],
)
def test_exact(lookup: str, value: Any, names: list[str]) -> None:
    assert found(**{MAP + lookup: value}) == seen(*names)


def test_in() -> None:
    assert found(**{f"{MAP}number__in": [2, 2.5, 7, 99]}) == {"two", "half", "about zero"}
    assert found(**{f"{MAP}text__in": ["X", "\\u0000"]}) == {"two", "about zero"}
    assert found(**{f"{MAP}flag__in": [True]}) == seen("ten", "zero byte", "about zero")
    assert found(**{f"{MAP}number__in": []}) == set()


@pytest.mark.parametrize(
    ("lookup", "value", "names"),
    [
        ("lt", 7, ["two", "half"]),
        ("lte", 7, ["two", "half", "about zero"]),
        ("gt", 8, ["ten", "zero byte", "zero byte in a key", "deep"]),
        (
            "gte",
            8,
            ["ten", "zero byte", "zero byte in a key", "deep", "about zero and a backslash"],
        ),
        (
            "gt",
            2.5,
            [
                "ten",
                "zero byte",
                "zero byte in a key",
                "deep",
                "about zero",
                "about zero and a backslash",
            ],
        ),
    ],
)
def test_comparisons(lookup: str, value: float, names: list[str]) -> None:
    assert found(**{f"{MAP}number__{lookup}": value}) == seen(*names)


def test_comparisons_of_text() -> None:
    of_text = {name for name, value in VALUES.items() if isinstance(value.get("text"), str)}
    assert found(Q(**{f"{MAP}text__gte": "x"})) >= seen("ten", "deep")
    assert found(Q(**{f"{MAP}text__gte": ""})) <= of_text


def test_isnull() -> None:
    with_flag = {name for name, value in VALUES.items() if "flag" in value}
    assert found(**{f"{MAP}flag__isnull": False}) == seen(*with_flag)
    assert found(**{f"{MAP}flag__isnull": True}) == set(VALUES) - seen(*with_flag)
    assert found(state__extra__isnull=True) == BLIND[connection.vendor]
    assert found(state__nowhere__isnull=False) == set()
    assert found(**{f"{MAP}list__1__isnull": False}) == {"ten", "two"}


KEYS = ["日本語", "é", "\U0001f600", "a b", "'", "\\", "a.b", "$", "[0]", "%s", "x-y", "{0}", "?"]


@pytest.mark.parametrize("key", KEYS)
def test_keys_in_any_script(key: str) -> None:
    Step.objects.filter(step=0).update(state={key: {key: "é"}, "number": 1})
    path = f"state__{key}__{key}"
    assert found(**{path: "é"}) == {"ten"}
    assert found(**{f"{path}__in": ["x", "é"]}) == {"ten"}
    assert found(**{f"{path}__isnull": False}) == {"ten"}
    assert found(**{f"state__{key}__isnull": False}) == {"ten"}
    assert Step.objects.annotate(value=F(path)).get(step=0).value == "é"


def test_nested_far_down() -> None:
    path = "__".join(["k"] * 60)
    assert found(**{f"{MAP}deep__{path}": {}}) == seen("deep")
    assert found(**{f"{MAP}deep__{path}__isnull": False}) == seen("deep")


def test_combined_and_excluded() -> None:
    either = Q(**{f"{MAP}number": 10}) | Q(**{f"{MAP}text": "X"})
    assert found(either) == seen("ten", "zero byte", "zero byte in a key", "deep", "two")
    assert found(either & ~Q(**{f"{MAP}flag": True})) == {"two"}
    excluded = Step.objects.exclude(**{f"{MAP}number": 10})
    assert set(excluded.values_list("session_id", flat=True)) >= {"two", "half", "about zero"}
    assert not excluded.filter(session_id__in=seen("ten", "deep")).exists()
    assert not Step.objects.exclude(**{f"{MAP}number__isnull": False}).filter(step=0).exists()
    assert Session.objects.exclude(last_state__extra__map__text="x").filter(pk="two").exists()


def test_annotations_and_values() -> None:
    numbers = dict(
        Step.objects.annotate(number=F(f"{MAP}number")).values_list("session_id", "number")
    )
    expected = {
        name: value.get("number") if name in seen(*VALUES) else None
        for name, value in VALUES.items()
    }
    assert numbers == expected
    assert dict(Step.objects.values_list("session_id", f"{MAP}number")) == expected
    assert dict(Session.objects.values_list("pk", "last_state__extra__map__number")) == expected
    whole = dict(Step.objects.values_list("session_id", f"{MAP}list"))
    assert whole["two"] == [2, {"at": "z"}, 3]
    assert whole["without"] is None
    texts = dict(Step.objects.values_list("session_id", f"{MAP}text"))
    assert (texts["ten"], texts["about zero"]) == ("x", "\\u0000")


def test_a_filter_on_an_annotation() -> None:
    annotated = Step.objects.annotate(number=F(f"{MAP}number"))
    assert set(annotated.filter(number__gt=8).values_list("session_id", flat=True)) == seen(
        "ten", "zero byte", "zero byte in a key", "deep"
    )


def test_one_path_against_another() -> None:
    equal = Step.objects.filter(**{f"{MAP}list__0": F(f"{MAP}number")})
    assert set(equal.values_list("session_id", flat=True)) == {"two", "about zero and a backslash"}


def test_counts_by_a_path() -> None:
    grouped = Step.objects.values(f"{MAP}flag").annotate(steps=Count("pk"))
    counts = {row[f"{MAP}flag"]: row["steps"] for row in grouped if row[f"{MAP}flag"] is not None}
    assert counts == {True: len(seen("ten", "zero byte", "about zero")), False: 1}


def test_updates_and_deletes() -> None:
    matching: StepQuerySet = Step.objects.filter(**{f"{MAP}number": 10})
    names = seen("ten", "zero byte", "zero byte in a key", "deep")
    assert matching.update(message_count=5) == len(names)
    changed = Step.objects.filter(message_count=5).values_list("session_id", flat=True)
    assert set(changed) == names
    assert Session.objects.filter(last_state__extra__map__number=10).update(owner="x") == len(names)
    matching.delete()
    assert set(Step.objects.values_list("session_id", flat=True)) == set(VALUES) - names
    assert not Session.objects.filter(last_state__extra__map__number=10).exists()


def test_key_paths_of_the_small_columns() -> None:
    Step.objects.filter(step=0).update(versions_seen={"Custom:plan": {"messages": 2**64 - 1}})
    assert found(**{"versions_seen__Custom:plan__messages": 2**64 - 1}) == {"ten"}
    assert found(**{"versions_seen__Custom:plan__messages__gt": 5}) == {"ten"}
    assert Step.objects.filter(frontier__0="End").count() == 0
