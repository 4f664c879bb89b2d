"""Concurrent clients of a live server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.clients import session_url, step_url
from tests.api.live import Answer, Connection, build_auth_header
from tests.builders import wrong_snapshots
from tests.service.racing import race
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import VersionedState, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

CLIENTS = 8
ROUNDS = 50
STEPS_PER_SESSION = 5

pytestmark = pytest.mark.django_db(transaction=True)


def build_body(racer: int, session_id: str, step: int) -> bytes:
    state = VersionedState.new_with_user_message(f"racer {racer}")
    return serde.dumps(a_checkpoint(session_id, step, state=state))


def test_one_of_many_checked_saves_succeeds_also_for_new_sessions(live_server: Any) -> None:
    headers = build_auth_header("add_step")
    connections = [Connection(live_server.url, headers) for _ in range(CLIENTS)]
    saved: dict[str, int] = {}
    try:
        for number in range(ROUNDS):
            session_id = f"run-{number // STEPS_PER_SESSION}"
            last = saved.get(session_id, 0)
            # The first step may be step 0; later steps are greater than the last.
            step = last + 1 if session_id in saved else number % 2
            path = f"{step_url(session_id, step)}?expected_last_step={last}"

            def save(racer: int, path: str = path, place: Any = (session_id, step)) -> Answer:
                return connections[racer].ask("PUT", path, build_body(racer, *place))

            answers = race(CLIENTS, save)
            saved[session_id] = step
            assert sorted(each.status for each in answers) == [201] + [409] * (CLIENTS - 1)
            (winner,) = (racer for racer in range(CLIENTS) if answers[racer].status == 201)
            for each in answers:
                if each.status == 409:
                    error = each.json()
                    error_fields = (error["code"], error["expected"], error["actual"])
                    assert error_fields == ("concurrency_conflict", last, step)
            latest = DjangoCheckpointer().load_latest(session_id)
            assert latest is not None
            assert latest.step == step
            assert latest.state.messages.items[0].content == f"racer {winner}"
    finally:
        for connection in connections:
            connection.http.close()
    assert Session.objects.count() == ROUNDS // STEPS_PER_SESSION
    assert {row.revision for row in Session.objects.all()} == {STEPS_PER_SESSION}
    assert wrong_snapshots() == []


def test_one_of_many_unchecked_saves_returns_201(live_server: Any) -> None:
    headers = build_auth_header("add_step", "change_step")

    for number in range(10):
        path, place = step_url("run", number), ("run", number)

        def save(racer: int, path: str = path, place: Any = place) -> Answer:
            with Connection(live_server.url, headers) as connection:
                return connection.ask("PUT", path, build_body(racer, *place))

        statuses = sorted(each.status for each in race(CLIENTS, save))
        assert statuses == [200] * (CLIENTS - 1) + [201]
    assert Session.objects.get().revision == 10 * CLIENTS


def test_add_step_never_replaces_in_a_race(live_server: Any) -> None:
    headers = build_auth_header("add_step")

    def save(racer: int) -> Answer:
        with Connection(live_server.url, headers) as connection:
            return connection.ask("PUT", step_url("run", 1), build_body(racer, "run", 1))

    answers = race(CLIENTS, save)
    assert sorted(each.status for each in answers) == [201] + [403] * (CLIENTS - 1)
    assert Session.objects.get().revision == 1


def test_change_step_never_creates_in_a_race_with_a_delete(live_server: Any) -> None:
    headers = build_auth_header("change_step", "delete_session")

    def call(racer: int) -> Answer:
        with Connection(live_server.url, headers) as connection:
            if racer == 0:
                return connection.ask("DELETE", session_url("run"))
            return connection.ask("PUT", step_url("run", 1), build_body(racer, "run", 1))

    for _ in range(10):
        DjangoCheckpointer().save(a_checkpoint("run", 1))
        deleted, *saved = race(CLIENTS, call)
        assert deleted.status == 204
        assert {each.status for each in saved} <= {200, 403}
        assert not Session.objects.exists()


def test_concurrent_pollers_never_get_two_states_with_one_etag(live_server: Any) -> None:
    headers = build_auth_header("view_session", "add_step")
    DjangoCheckpointer().save(a_checkpoint("run", 0))

    def work(racer: int) -> dict[str, int]:
        seen: dict[str, int] = {}
        with Connection(live_server.url, headers) as connection:
            for number in range(1, 31):
                if racer == 0:
                    path = f"{step_url('run', number)}?expected_last_step={number - 1}"
                    answer = connection.ask("PUT", path, build_body(0, "run", number))
                    assert answer.status == 201
                    continue
                known = next(reversed(seen), '"none"')
                path = "/api/sessions/run/latest/"
                answer = connection.ask("GET", path, **{"If-None-Match": known})
                if answer.status == 200:
                    step = answer.json()["step"]
                    assert seen.setdefault(answer.headers["ETag"], step) == step
                else:
                    assert (answer.status, answer.body) == (304, b"")
        return seen

    together: dict[str, int] = {}
    for seen in race(4, work):
        assert isinstance(seen, dict), seen
        for tag, step in seen.items():
            assert together.setdefault(tag, step) == step
    assert len(set(together.values())) == len(together)
