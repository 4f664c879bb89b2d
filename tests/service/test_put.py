"""``Backend.put``, by which REST saves: the same on each database, whoever asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection

from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import SessionNotFound
from weavegraph_checkpoints.backends import StepRow, get_backend
from weavegraph_checkpoints.backends.base import Permit
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = pytest.mark.django_db(transaction=True)

asked_or_not = pytest.mark.parametrize("permit", [None, lambda is_new: None], ids=["all", "asked"])


def put(step: int, permit: Permit | None, *, create: bool) -> bool:
    row = StepRow.of(a_checkpoint("a", step), None)
    return get_backend(connection).put(row, None, permit, create=create)


@asked_or_not
def test_a_step_is_new_once(permit: Permit | None) -> None:
    assert [put(step, permit, create=True) for step in (1, 1, 2, 1)] == [True, False, True, False]


@asked_or_not
def test_without_create_no_session_is_made(permit: Permit | None) -> None:
    with pytest.raises(SessionNotFound):
        put(1, permit, create=False)
    assert everything_stored() == ([], [])
    save_history(DjangoCheckpointer(), "a", [1])
    assert [put(step, permit, create=False) for step in (1, 2)] == [False, True]


def refusing(is_new: bool) -> Callable[[bool], None]:
    def permit(told: bool) -> None:
        assert told is is_new
        raise PermissionError

    return permit


@pytest.mark.parametrize("step", [1, 2])
def test_what_is_forbidden_leaves_no_trace(step: int) -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    before = everything_stored()
    with pytest.raises(PermissionError):
        put(step, refusing(is_new=step == 2), create=True)
    assert everything_stored() == before
