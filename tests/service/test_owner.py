"""``DjangoCheckpointer(owner=…)``: the sessions of one owner are all that exist."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    InvalidCheckpoint,
    SessionExists,
    SessionNotFound,
    StepQuery,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

OWNERS = ["ann", "Ann", "ann ", "", "änn", "a/b", "x" * 255, "😀"]


@pytest.fixture(params=["in atomic()", "by itself"])
def everyone(request: pytest.FixtureRequest) -> DjangoCheckpointer:
    """One without an owner, whose calls are transactions of their own or not."""
    request.getfixturevalue("db" if request.param == "in atomic()" else "committed")
    return DjangoCheckpointer()


def test_a_session_is_made_for_the_owner(everyone: DjangoCheckpointer) -> None:
    for owner in OWNERS:
        DjangoCheckpointer(owner=owner).save(a_checkpoint(f"of {owner[:9]}"))
        checked = DjangoCheckpointer(owner=owner)
        checked.save_with_concurrency_check(a_checkpoint(f"checked of {owner[:9]}"), 0)
    everyone.save(a_checkpoint("of nobody"))
    assert {row.id: row.owner for row in Session.objects.all()} == {
        **{f"of {owner[:9]}": owner for owner in OWNERS},
        **{f"checked of {owner[:9]}": owner for owner in OWNERS},
        "of nobody": "",
    }


def test_each_owner_sees_their_own_sessions_alone(everyone: DjangoCheckpointer) -> None:
    for owner in OWNERS:
        save_history(DjangoCheckpointer(owner=owner), f"of {owner[:9]}", [1, 2])
    for owner in OWNERS:
        theirs = DjangoCheckpointer(owner=owner)
        assert theirs.list_sessions() == [f"of {owner[:9]}"]
        for other in OWNERS:
            session_id, own = f"of {other[:9]}", owner == other
            assert (theirs.load_latest(session_id) is not None) is own
            assert (theirs.load(session_id, 1) is not None) is own
            assert theirs.query_steps(session_id).page_info.total_count == 2 * own
            asked = StepQuery(ran_node="odd", min_step=1)
            assert theirs.query_steps(session_id, asked).page_info.total_count == own
    assert len(everyone.list_sessions()) == len(OWNERS)
    for other in OWNERS:
        assert everyone.query_steps(f"of {other[:9]}").page_info.total_count == 2


@pytest.mark.parametrize("stranger", ["bob", "", "Ann", "ann "])
def test_someone_elses_session_is_not_written_to(
    everyone: DjangoCheckpointer, stranger: str
) -> None:
    save_history(DjangoCheckpointer(owner="ann"), "session", [1, 2])
    Session.objects.create(id="empty", owner="ann")
    before = everything_stored()
    other = DjangoCheckpointer(owner=stranger)
    for session_id, step, expected in (
        ("session", 3, None),
        ("session", 2, None),
        ("session", 3, 2),
        ("session", 3, 1),
        ("empty", 0, 0),
        ("empty", 1, 0),
    ):
        with pytest.raises(SessionNotFound) as refused:
            other.save_with_concurrency_check(a_checkpoint(session_id, step), expected)
        assert refused.value.session_id == session_id
    with pytest.raises(SessionNotFound):
        other.save(a_checkpoint("session", 3))
    assert other.delete_session("session") is False
    assert everything_stored() == before


@pytest.mark.parametrize("stranger", ["bob", ""])
def test_someone_elses_session_is_neither_source_nor_target_of_a_fork(
    everyone: DjangoCheckpointer, stranger: str
) -> None:
    save_history(DjangoCheckpointer(owner="ann"), "session", [1, 2])
    other = DjangoCheckpointer(owner=stranger)
    save_history(other, "own", [1])
    before = everything_stored()
    with pytest.raises(SessionNotFound) as refused:
        other.fork_session("session", "fork")
    assert refused.value.session_id == "session"
    with pytest.raises(SessionNotFound) as refused:
        other.fork_session("own", "session")
    assert refused.value.session_id == "session"
    with pytest.raises(SessionExists):
        everyone.fork_session("own", "session")
    assert everything_stored() == before


@pytest.mark.parametrize("owner", ["ann", ""])
def test_an_owner_does_everything_with_their_own(everyone: DjangoCheckpointer, owner: str) -> None:
    theirs = DjangoCheckpointer(owner=owner)
    theirs.save_with_concurrency_check(a_checkpoint(step=1), 0)
    theirs.save_with_concurrency_check(a_checkpoint(step=2), 1)
    theirs.save(a_checkpoint(step=2))
    assert theirs.fork_session("session", "fork", at_step=1).step == 1
    assert Session.objects.get(id="fork").owner == owner
    with pytest.raises(SessionExists):
        theirs.fork_session("session", "fork")
    assert theirs.delete_session("session") is True
    assert theirs.list_sessions() == ["fork"]


def test_a_fork_keeps_the_owner_of_its_source(everyone: DjangoCheckpointer) -> None:
    save_history(DjangoCheckpointer(owner="ann"), "session", [1])
    everyone.fork_session("session", "fork")
    assert Session.objects.get(id="fork").owner == "ann"


def test_without_an_owner_a_save_keeps_the_one_there_is(everyone: DjangoCheckpointer) -> None:
    save_history(DjangoCheckpointer(owner="ann"), "session", [1])
    save_history(everyone, "session", [2])
    everyone.save_with_concurrency_check(a_checkpoint(step=3), 2)
    row = Session.objects.get()
    assert (row.owner, row.last_step) == ("ann", 3)
    assert everyone.delete_session("session") is True


@pytest.mark.parametrize("owner", ["\0", "\ud800", "x" * 256, 1, b"ann", ["ann"]], ids=ascii)
def test_what_cannot_be_an_owner_is_refused(owner: Any) -> None:
    with pytest.raises(InvalidCheckpoint) as refused:
        DjangoCheckpointer(owner=owner)
    assert refused.value.path == "owner"
