"""Racing clients against a live server: of those who expect the same, one wins."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.clients import step_url
from tests.api.live import Answer, Connection, header_of
from tests.builders import wrong_snapshots
from tests.service.racing import race
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import VersionedState, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

CLIENTS = 8
ROUNDS = 50
BORN_EVERY = 5

pytestmark = pytest.mark.django_db(transaction=True)


def body_of(racer: int, session_id: str, step: int) -> bytes:
    state = VersionedState.new_with_user_message(f"racer {racer}")
    return serde.dumps(a_checkpoint(session_id, step, state=state))


def test_one_wins_each_round_births_among_them(live_server: Any) -> None:
    headers = header_of("add_step")
    connections = [Connection(live_server.url, headers) for _ in range(CLIENTS)]
    saved: dict[str, int] = {}
    try:
        for number in range(ROUNDS):
            session_id = f"run-{number // BORN_EVERY}"
            last = saved.get(session_id, 0)
            # A first step may be step 0; a later one comes after the last.
            step = last + 1 if session_id in saved else number % 2
            path = f"{step_url(session_id, step)}?expected_last_step={last}"

            def save(racer: int, path: str = path, place: Any = (session_id, step)) -> Answer:
                return connections[racer].ask("PUT", path, body_of(racer, *place))

            answers = race(CLIENTS, save)
            saved[session_id] = step
            assert sorted(each.status for each in answers) == [201] + [409] * (CLIENTS - 1)
            (winner,) = (racer for racer in range(CLIENTS) if answers[racer].status == 201)
            for each in answers:
                if each.status == 409:
                    error = each.json()
                    told = (error["code"], error["expected"], error["actual"])
                    assert told == ("concurrency_conflict", last, step)
            latest = DjangoCheckpointer().load_latest(session_id)
            assert latest is not None
            assert latest.step == step
            assert latest.state.messages.items[0].content == f"racer {winner}"
    finally:
        for connection in connections:
            connection.http.close()
    assert Session.objects.count() == ROUNDS // BORN_EVERY
    assert {row.revision for row in Session.objects.all()} == {BORN_EVERY}
    assert wrong_snapshots() == []


def test_of_unchecked_saves_of_one_step_one_is_new(live_server: Any) -> None:
    headers = header_of("add_step", "change_step")

    for number in range(10):
        path, place = step_url("run", number), ("run", number)

        def save(racer: int, path: str = path, place: Any = place) -> Answer:
            with Connection(live_server.url, headers) as connection:
                return connection.ask("PUT", path, body_of(racer, *place))

        statuses = sorted(each.status for each in race(CLIENTS, save))
        assert statuses == [200] * (CLIENTS - 1) + [201]
    assert Session.objects.get().revision == 10 * CLIENTS


def test_who_may_only_add_never_replaces(live_server: Any) -> None:
    headers = header_of("add_step")

    def save(racer: int) -> Answer:
        with Connection(live_server.url, headers) as connection:
            return connection.ask("PUT", step_url("run", 1), body_of(racer, "run", 1))

    answers = race(CLIENTS, save)
    assert sorted(each.status for each in answers) == [201] + [403] * (CLIENTS - 1)
    assert Session.objects.get().revision == 1


def test_pollers_beside_a_saver_never_see_two_states_under_one_etag(live_server: Any) -> None:
    headers = header_of("view_session", "add_step")
    DjangoCheckpointer().save(a_checkpoint("run", 0))

    def work(racer: int) -> dict[str, int]:
        seen: dict[str, int] = {}
        with Connection(live_server.url, headers) as connection:
            for number in range(1, 31):
                if racer == 0:
                    path = f"{step_url('run', number)}?expected_last_step={number - 1}"
                    answer = connection.ask("PUT", path, body_of(0, "run", number))
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
