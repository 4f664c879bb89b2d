"""Which database each REST call reads, and what it answers while the replica lags."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InternalError
from django.test import AsyncClient, Client

from tests.api.calls import CALLS, Call
from tests.api.clients import SESSIONS, assert_error, post, put, session_url, step_url
from tests.builders import save_history
from tests.replica.calls import documented_aliases
from tests.replica.conftest import Asked, Paused
from tests.replica.documented import (
    PRIMARY,
    REPLICA,
    CheckpointRouter,
    ReadYourWritesMiddleware,
)
from tests.servers import PostgresReplica
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = pytest.mark.vendor("postgresql")

CHECKPOINT = {
    "state": {
        "messages": {"version": 1, "items": []},
        "extra": {"version": 1, "map": {}},
    },
    "frontier": ["Start"],
}


def get_route(call: Call) -> str:
    """Return the heading of a call, such as ``GET sessions/{session}/``."""
    path = call.path.partition("?")[0].replace("run/", "{session}/", 1)
    step = "{session}/steps/"
    if path.startswith(step) and path != step:
        path = step + "{step}/"
    return f"{call.method.upper()} sessions/{path}"


@pytest.fixture
def client(superuser: Any, replica: PostgresReplica, settings: Any) -> Client:
    """A client without cookies for reads, of a project with the sessions ``run`` and ``other``."""
    settings.WEAVEGRAPH_CHECKPOINTS = {"EVENTS_MAX_SECONDS": 1}
    save_history(DjangoCheckpointer(), "run", [1, 2])
    save_history(DjangoCheckpointer(), "other", [1])
    DjangoCheckpointer().set_labels("run", {"env": "test"})
    replica.catch_up()
    client = Client()
    client.force_login(superuser)
    return client


@pytest.fixture
def forgetful(client: Client) -> Client:
    """A client that does not keep the cookie of the middleware."""
    kept = client.request

    def request(**environ: Any) -> Any:
        client.cookies.pop(ReadYourWritesMiddleware.cookie, None)
        return kept(**environ)

    client.request = request  # type: ignore[method-assign]
    return client


def ids(client: Client, query: str = "") -> list[str]:
    return [each["id"] for each in client.get(f"{SESSIONS}{query}").json()["results"]]


def events(client: Client, query: str) -> list[dict[str, Any]]:
    """Return the data of the events of a stream, up to its end."""
    response: Any = client.get(session_url("run", f"events/{query}"))
    lines = b"".join(response.streaming_content).decode().splitlines()
    return [json.loads(line[len("data: ") :]) for line in lines if line.startswith("data: ")]


def test_every_route_is_documented() -> None:
    assert set(map(get_route, CALLS)) == set(documented_aliases("The REST API"))


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_each_call_reads_the_documented_database(
    forgetful: Client, asked: Asked, call: Call
) -> None:
    def send() -> None:
        response = call.by(forgetful)
        assert response.status_code == call.status, response.content
        if response.streaming:
            assert b"event: end" in b"".join(response.streaming_content)

    allowed = documented_aliases("The REST API")[get_route(call)]
    used = asked(send)
    assert used == (allowed if len(allowed) == 1 else {REPLICA})


def test_the_primary_says_whether_a_session_without_steps_exists(
    forgetful: Client, asked: Asked, paused: Paused
) -> None:
    def list_steps(session_id: str, status: int) -> Callable[[], None]:
        def call() -> None:
            response = forgetful.get(session_url(session_id, "steps/"))
            assert response.status_code == status

        return call

    with paused():
        DjangoCheckpointer().save(a_checkpoint("new", 1))
        assert asked(list_steps("new", 200)) == {PRIMARY, REPLICA}
        assert asked(list_steps("nowhere", 404)) == {PRIMARY, REPLICA}


def test_saves_and_resumes_do_not_lag(forgetful: Client, paused: Paused) -> None:
    with paused():
        before = forgetful.get(session_url("run", "latest/"))
        saved = put(forgetful, f"{step_url('run', 3)}?expected_last_step=2", CHECKPOINT)
        assert saved.status_code == 201
        conflict = put(forgetful, f"{step_url('run', 3)}?expected_last_step=2", CHECKPOINT)
        assert assert_error(conflict, 409, "concurrency_conflict")["actual"] == 3
        latest = forgetful.get(session_url("run", "latest/"))
        assert latest.json()["step"] == 3
        assert latest["ETag"] != before["ETag"]
        known = {"If-None-Match": latest["ETag"]}
        assert forgetful.get(session_url("run", "latest/"), headers=known).status_code == 304
        assert forgetful.get(saved["Location"]).json()["step"] == 3
        assert forgetful.get(session_url("run")).json()["last_step"] == 3
        difference = forgetful.get(session_url("run", "diff/?from=2&to=3")).json()
        assert difference["to"] == 3
        page = forgetful.get(session_url("run", "steps/")).json()
        assert [each["step"] for each in page["checkpoints"]] == [2, 1]
        (listed,) = forgetful.get(f"{SESSIONS}?id=run").json()["results"]
        assert listed["last_step"] == 2
    page = forgetful.get(session_url("run", "steps/")).json()
    assert [each["step"] for each in page["checkpoints"]] == [3, 2, 1]


def test_labels_forks_and_deletes(forgetful: Client, paused: Paused) -> None:
    with paused():
        patched = forgetful.patch(
            session_url("run"), {"labels": {"env": "live"}}, content_type="application/json"
        )
        assert patched.json()["labels"] == {"env": "live"}
        assert forgetful.get(session_url("run")).json()["labels"] == {"env": "live"}
        assert ids(forgetful, "?label=env:live") == []
        assert ids(forgetful, "?label=env:test") == ["run"]
        forked = post(forgetful, session_url("run", "fork/"), {"target": "fork"})
        assert forked.status_code == 201
        location = forgetful.get(forked["Location"])
        assert location.status_code == 200
        assert location.json()["labels"] == {"env": "live"}
        assert forgetful.delete(session_url("other")).status_code == 204
        assert_error(forgetful.get(session_url("other")), 404, "not_found")
        assert ids(forgetful) == ["other", "run"]
    assert ids(forgetful) == ["fork", "run"]
    assert ids(forgetful, "?label=env:live") == ["fork", "run"]


def test_events_do_not_lag(forgetful: Client, paused: Paused) -> None:
    with paused():
        save_history(DjangoCheckpointer(), "run", [3], frontier=["End"])
        first, second, third, end = events(forgetful, "?after_step=-1")
        assert [first["step"], second["step"], third["step"]] == [1, 2, 3]
        assert end == {"reason": "finished"}
        assert forgetful.get(third["url"]).json()["step"] == 3
        resumed, end = events(forgetful, "?after_step=2")
        assert resumed["step"] == 3


def test_a_client_with_cookies_reads_what_it_wrote(
    client: Client, asked: Asked, paused: Paused
) -> None:
    with paused():
        assert asked(lambda: ids(client)) == {REPLICA}
        assert put(client, step_url("new", 1), CHECKPOINT).status_code == 201
        assert asked(lambda: ids(client)) == {PRIMARY}
        assert ids(client) == ["new", "other", "run"]
        page = client.get(session_url("new", "steps/")).json()
        assert page["page_info"]["total_count"] == 1
        cookie = client.cookies.pop(ReadYourWritesMiddleware.cookie)
        assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (10, True, "Lax")
        assert ids(client) == ["other", "run"]


def test_the_middleware_under_asgi(client: Client, superuser: Any, paused: Paused) -> None:
    async def send() -> tuple[list[str], list[str], int, list[str]]:
        browser = AsyncClient()
        await browser.aforce_login(superuser)

        async def read_ids() -> list[str]:
            response = await browser.get(SESSIONS)
            return [each["id"] for each in response.json()["results"]]

        before = await read_ids()
        body = json.dumps(CHECKPOINT)
        saved = await browser.put(step_url("new", 1), body, content_type="application/json")
        after = await read_ids()
        del browser.cookies[ReadYourWritesMiddleware.cookie]
        return before, after, saved.status_code, await read_ids()

    with paused():
        before, after, status, without_cookie = asyncio.run(send())
    assert status == 201
    assert before == without_cookie == ["other", "run"]
    assert after == ["new", "other", "run"]


def test_a_router_that_writes_to_the_replica_is_noticed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_to_replica(*args: Any, **hints: Any) -> str:
        return REPLICA

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointRouter, "db_for_write", send_to_replica)
        for send in (
            lambda: put(client, step_url("run", 3), CHECKPOINT),
            lambda: post(client, session_url("run", "fork/"), {"target": "fork"}),
            lambda: client.delete(session_url("run")),
        ):
            with pytest.raises(InternalError, match="read-only transaction"):
                send()
    assert DjangoCheckpointer(PRIMARY).load_latest("run").step == 2  # type: ignore[union-attr]
