"""``set_labels`` and ``get_labels``: what is read is what was set, on every database."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import everything_stored, save_history
from tests.domain.test_labels import KEYS, NOT_KEYS, NOT_VALUES, VALUES
from tests.strategies import a_checkpoint, storable_text
from weavegraph_checkpoints import InvalidLabel, SessionNotFound
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label

NOT_IDS: list[Any] = ["", "x" * 256, "a\0", "\ud800", None, 1]


@pytest.fixture
def labelled(django: DjangoCheckpointer) -> DjangoCheckpointer:
    """The checkpointer, with a session that has two labels."""
    save_history(django, "session", [1])
    django.set_labels("session", {"env": "test", "customer": "4711"})
    return django


def test_a_session_has_no_labels_at_first(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    assert django.get_labels("session") == {}


def test_labels_are_returned_in_the_order_of_their_keys(labelled: DjangoCheckpointer) -> None:
    expected = [("customer", "4711"), ("env", "test")]
    assert list(labelled.get_labels("session").items()) == expected
    assert list(labelled.set_labels("session", {}).items()) == expected


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({}, {"customer": "4711", "env": "test"}),
        ({"env": "prod"}, {"customer": "4711", "env": "prod"}),
        ({"env": None}, {"customer": "4711"}),
        ({"env": None, "customer": None}, {}),
        ({"absent": None}, {"customer": "4711", "env": "test"}),
        ({"a": "", "env": None}, {"a": "", "customer": "4711"}),
        ({"ENV": "test"}, {"ENV": "test", "customer": "4711", "env": "test"}),
    ],
)
def test_labels_are_merged(
    labelled: DjangoCheckpointer, changes: dict[str, str | None], after: dict[str, str]
) -> None:
    assert labelled.set_labels("session", changes) == after
    assert labelled.get_labels("session") == after


@pytest.mark.parametrize(
    ("labels", "after"),
    [({}, {}), ({"env": "prod"}, {"env": "prod"}), ({"a": "1", "env": None}, {"a": "1"})],
)
def test_labels_are_replaced(
    labelled: DjangoCheckpointer, labels: dict[str, str | None], after: dict[str, str]
) -> None:
    assert labelled.set_labels("session", labels, replace=True) == after
    assert labelled.get_labels("session") == after


def test_each_key_and_value_comes_back_as_it_was_set(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    by_key = dict.fromkeys(KEYS, "value") | {
        f"value{number}": value for number, value in enumerate(VALUES)
    }
    assert django.set_labels("session", by_key) == by_key
    assert django.get_labels("session") == by_key
    (found,) = django.find_sessions().sessions
    assert found.labels == by_key


def test_values_are_compared_byte_for_byte(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    for value in ["a", "A", "á", "a ", "a\u0301", "", "a"]:
        assert django.set_labels("session", {"key": value}) == {"key": value}
        assert django.get_labels("session") == {"key": value}


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    "labels",
    [{key: "value"} for key in NOT_KEYS if key.__hash__]
    + [{"key": value} for value in NOT_VALUES if value is not None]
    + [None, "a=b", ["a"]],
)
def test_a_bad_label_changes_nothing(
    labelled: DjangoCheckpointer, labels: Any, replace: bool
) -> None:
    if isinstance(labels, dict):
        labels = {"fine": "1", **labels}
    with pytest.raises(InvalidLabel):
        labelled.set_labels("session", labels, replace=replace)
    assert labelled.get_labels("session") == {"customer": "4711", "env": "test"}


def test_a_session_has_up_to_64_labels(labelled: DjangoCheckpointer) -> None:
    labelled.set_labels("session", {f"key{number}": "" for number in range(62)})
    assert len(labelled.get_labels("session")) == 64
    with pytest.raises(InvalidLabel, match="at most 64 labels, not 65"):
        labelled.set_labels("session", {"one-more": ""})
    with transaction.atomic(), pytest.raises(InvalidLabel):
        labelled.set_labels("session", {"one-more": "", "another": "", "env": None})
    assert len(labelled.get_labels("session")) == 64
    changed = labelled.set_labels("session", {"one-more": "", "env": None})
    assert len(changed) == 64
    with pytest.raises(InvalidLabel):
        labelled.set_labels("session", dict.fromkeys(map(str, range(100)), ""), replace=True)


@pytest.mark.parametrize("session_id", [*NOT_IDS, "unknown", "Session", "session "])
def test_labels_of_an_unknown_session(labelled: DjangoCheckpointer, session_id: Any) -> None:
    assert labelled.get_labels(session_id) == {}
    for replace in (False, True):
        with pytest.raises(SessionNotFound):
            labelled.set_labels(session_id, {"a": "1"}, replace=replace)
    assert Label.objects.count() == 2


def test_labels_change_nothing_else(labelled: DjangoCheckpointer) -> None:
    before = everything_stored()[:2]
    labelled.set_labels("session", {"env": "prod", "customer": None})
    labelled.set_labels("session", {}, replace=True)
    assert everything_stored()[:2] == before


def test_labels_survive_saves(labelled: DjangoCheckpointer) -> None:
    labelled.save(a_checkpoint(step=1))
    labelled.save(a_checkpoint(step=2))
    assert labelled.get_labels("session") == {"customer": "4711", "env": "test"}


def test_a_label_that_does_not_change_is_not_written(labelled: DjangoCheckpointer) -> None:
    before = set(Label.objects.values_list("pk", flat=True))
    labelled.set_labels("session", {"env": "test", "customer": "4711"}, replace=True)
    assert set(Label.objects.values_list("pk", flat=True)) == before


def test_a_fork_has_the_labels_of_its_source(labelled: DjangoCheckpointer) -> None:
    labelled.fork_session("session", "fork")
    labelled.set_labels("session", {"env": "prod"})
    assert labelled.get_labels("fork") == {"customer": "4711", "env": "test"}
    save_history(labelled, "bare", [1])
    labelled.fork_session("bare", "bare fork")
    assert labelled.get_labels("bare fork") == {}


def test_a_deleted_session_has_no_labels_and_none_when_it_is_made_again(
    labelled: DjangoCheckpointer,
) -> None:
    save_history(labelled, "other", [1])
    labelled.set_labels("other", {"env": "test"})
    assert labelled.delete_session("session")
    assert Label.objects.count() == 1
    save_history(labelled, "session", [1])
    assert labelled.get_labels("session") == {}
    assert labelled.get_labels("other") == {"env": "test"}


def test_labels_of_another_owner_do_not_exist(django: DjangoCheckpointer) -> None:
    ann, bob = DjangoCheckpointer(owner="ann"), DjangoCheckpointer(owner="bob")
    ann.save(a_checkpoint("hers"))
    ann.set_labels("hers", {"env": "test"})
    assert bob.get_labels("hers") == {}
    with pytest.raises(SessionNotFound):
        bob.set_labels("hers", {"env": "prod"})
    assert ann.get_labels("hers") == django.get_labels("hers") == {"env": "test"}
    assert django.set_labels("hers", {"by": "admin"}) == {"by": "admin", "env": "test"}


def test_labels_are_rolled_back_with_the_caller(labelled: DjangoCheckpointer) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        labelled.set_labels("session", {"env": "prod"})
        raise ZeroDivisionError
    assert labelled.get_labels("session")["env"] == "test"


def test_the_database_holds_what_the_model_says(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    Label.objects.create(session_id="session", key="k" * 63, value="😀" * 255)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {Label._meta.db_table}")
        assert cursor.fetchone() == (1,)
    assert django.get_labels("session") == {"k" * 63: "😀" * 255}
    assert str(Label.objects.get()) == f"session · {'k' * 63}"


KEY = st.sampled_from(["a", "A", "b", "c.d", "z" * 63])


@given(
    calls=st.lists(
        st.tuples(st.dictionaries(KEY, st.none() | storable_text(max_size=255)), st.booleans()),
        max_size=6,
    )
)
@pytest.mark.django_db(transaction=False)
def test_any_calls_agree_with_a_dict(calls: list[tuple[dict[str, str | None], bool]]) -> None:
    checkpointer = DjangoCheckpointer()
    checkpointer.delete_session("session")
    save_history(checkpointer, "session", [1])
    expected: dict[str, str] = {}
    for changes, replace in calls:
        merged = {**({} if replace else expected), **changes}
        expected = {key: value for key, value in merged.items() if value is not None}
        assert checkpointer.set_labels("session", changes, replace=replace) == expected
        assert checkpointer.get_labels("session") == expected
    (found,) = checkpointer.find_sessions(labels=expected).sessions
    assert found.labels == expected
