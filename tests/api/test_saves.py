"""``PUT``: the concurrency check, the rows that it writes and the signal."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.api.clients import ALL, assert_error, create_client, put, step_url
from tests.api.queries import capture_app_queries
from tests.builders import everything_stored, save_history, wrong_snapshots
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.signals import checkpoint_saved


def save(client: Client, step: int, expected: int | None = None, session_id: str = "a") -> Any:
    path = step_url(session_id, step)
    if expected is not None:
        path += f"?expected_last_step={expected}"
    return put(client, path, serde.dumps(a_checkpoint(session_id, step)))


def test_compare_and_swap(api: Client) -> None:
    for step, expected in ((0, 0), (1, 0), (2, 1), (7, 2)):
        assert save(api, step, expected).status_code == 201
    assert save(api, 9, 7, "a").status_code == 201
    assert save(api, 3, 0, "b").status_code == 201
    assert wrong_snapshots() == []


@pytest.mark.parametrize(
    ("step", "expected", "actual"), [(6, 4, 5), (8, 7, 5), (1, 0, 5), (0, 0, 5), (2**63 - 1, 6, 5)]
)
def test_a_conflict_leaves_no_trace(
    api: Client, checkpointer: DjangoCheckpointer, step: int, expected: int, actual: int
) -> None:
    save_history(checkpointer, "a", [1, 5])
    before = everything_stored()
    answer = save(api, step, expected)
    assert answer.status_code == 409
    error = answer.json()
    assert set(error) == {"code", "detail", "expected", "actual"}
    assert error["code"] == "concurrency_conflict"
    assert (error["expected"], error["actual"]) == (expected, actual)
    assert everything_stored() == before


def test_a_conflict_with_a_missing_session(api: Client) -> None:
    error = save(api, 6, 5).json()
    assert (error["expected"], error["actual"]) == (5, 0)
    assert not Session.objects.exists()


@pytest.mark.parametrize(("step", "expected"), [(5, 5), (4, 5), (0, 5)])
def test_a_step_not_after_the_expected_one(
    api: Client, checkpointer: DjangoCheckpointer, step: int, expected: int
) -> None:
    save_history(checkpointer, "a", [5])
    assert_error(save(api, step, expected), 400, "invalid", "$.step")


def test_the_session_keeps_its_concurrency_limit(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    for step, limit in ((1, 3), (2, 9)):
        body = serde.dumps(a_checkpoint("a", step, concurrency_limit=limit))
        assert put(api, step_url("a", step), body).status_code == 201
    latest = checkpointer.load_latest("a")
    assert latest is not None
    assert latest.concurrency_limit == 3


def test_the_lowest_and_the_highest_step(api: Client) -> None:
    for step in (0, 2**63 - 1):
        assert save(api, step).status_code == 201
    assert Session.objects.get().last_step == 2**63 - 1


@pytest.mark.django_db(transaction=True)
def test_the_signal_is_sent_as_for_any_save() -> None:
    client, received = create_client(*ALL), []

    def listen(sender: Any, **kwargs: Any) -> None:
        received.append((sender, kwargs["session_id"], kwargs["step"], kwargs["using"]))

    checkpoint_saved.connect(listen, sender=DjangoCheckpointer)
    try:
        save(client, 1)
        save(client, 2, 1)
        assert save(client, 2, 5).status_code == 400
        assert save(client, 3, 1).status_code == 409
    finally:
        checkpoint_saved.disconnect(listen, sender=DjangoCheckpointer)
    assert received == [
        (DjangoCheckpointer, "a", 1, "default"),
        (DjangoCheckpointer, "a", 2, "default"),
    ]


@pytest.mark.usefixtures("whole_states")
def test_the_number_of_queries_of_a_save(api: Client, checkpointer: DjangoCheckpointer) -> None:
    from django.db import connection

    save_history(checkpointer, "a", [1])
    _answer, unchecked = capture_app_queries(lambda: save(api, 2))
    _answer, checked = capture_app_queries(lambda: save(api, 3, 2))
    expected = {"sqlite": 1, "postgresql": 1, "mysql": 2}[connection.vendor]
    assert (len(unchecked), len(checked)) == (expected, expected)
    assert not any("last_state" in sql for sql in (*unchecked, *checked))
