"""The successful response of each call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from tests.api.calls import CALLS, Call
from tests.api.clients import (
    SESSIONS,
    assert_error,
    post,
    put,
    session_url,
    step_url,
)
from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

HOST = "http://testserver"
SMALL_COLUMNS = {
    "id",
    "url",
    "owner",
    "status",
    "concurrency_limit",
    "created_at",
    "updated_at",
    "last_step",
    "revision",
    "last_message_count",
    "last_error_count",
    "last_state_bytes",
    "last_frontier",
    "forked_from",
    "forked_at_step",
    "labels",
}


def test_the_list_of_sessions(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1, 2])
    save_history(checkpointer, "b", [1])
    page = api.get(SESSIONS).json()
    assert set(page) == {"count", "next", "previous", "results"}
    assert (page["count"], page["next"], page["previous"]) == (2, None, None)
    assert {each["id"]: each["url"] for each in page["results"]} == {
        "a": f"{HOST}/api/sessions/a/",
        "b": f"{HOST}/api/sessions/b/",
    }
    assert all(set(each) == SMALL_COLUMNS for each in page["results"])


def test_one_session(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1, 2], concurrency_limit=7)
    row = Session.objects.get()
    assert api.get(session_url("a")).json() == {
        "id": "a",
        "url": f"{HOST}/api/sessions/a/",
        "owner": "",
        "status": "resumable",
        "concurrency_limit": 7,
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
        "updated_at": row.updated_at.isoformat().replace("+00:00", "Z"),
        "last_step": 2,
        "revision": 2,
        "last_message_count": 1,
        "last_error_count": 0,
        "last_state_bytes": row.last_state_bytes,
        "last_frontier": ["Custom:plan"],
        "forked_from": "",
        "forked_at_step": None,
        "labels": {},
    }


def test_a_session_without_a_step(api: Client, db: Any) -> None:
    Session.objects.create(id="a")
    session = api.get(session_url("a")).json()
    assert (session["status"], session["last_step"], session["last_frontier"]) == ("empty", 0, None)
    assert_error(api.get(session_url("a", "latest/")), 404, "not_found")
    page = api.get(session_url("a", "steps/"))
    assert page.status_code == 200
    assert page.json()["checkpoints"] == []


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_timestamps_are_in_utc_in_every_time_zone(
    api: Client, checkpointer: DjangoCheckpointer, settings: Any, zone: str
) -> None:
    settings.TIME_ZONE = zone
    checkpointer.save(a_checkpoint("a", 1))
    assert api.get(session_url("a")).json()["updated_at"].endswith("Z")
    step = api.get(step_url("a", 1)).json()
    assert step["created_at"] == "2026-01-02T03:04:05.678901Z"


def test_delete(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [1, 2])
    save_history(checkpointer, "b", [1])
    gone = api.delete(session_url("a"))
    assert (gone.status_code, gone.content) == (204, b"")
    assert checkpointer.list_sessions() == ["b"]
    assert Step.objects.count() == 1
    assert_error(api.delete(session_url("a")), 404, "not_found")


def test_latest(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [2, 5, 3])
    answer = api.get(session_url("a", "latest/"))
    assert answer["Content-Type"] == "application/json"
    assert serde.loads(answer.content) == checkpointer.load_latest("a")
    document = answer.json()
    assert document.pop("url") == f"{HOST}/api/sessions/a/steps/5/"
    latest = checkpointer.load_latest("a")
    assert latest is not None
    assert document == json.loads(serde.dumps(latest))
    assert (document["ran_nodes"], document["updated_channels"]) == ([], [])


def test_one_step(api: Client, checkpointer: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint(session_id="a", step=3)
    checkpointer.save(saved)
    answer = api.get(step_url("a", 3))
    assert (
        answer.content
        == b'{"url":"%b",' % f"{HOST}/api/sessions/a/steps/3/".encode() + (serde.dumps(saved)[1:])
    )
    for missing in ("2", "9" * 19, "9" * 400, "-1", "03", "+3", "3.0", "x", "٣", "true"):
        assert_error(api.get(session_url("a", f"steps/{missing}/")), 404, "not_found")


def test_a_page_of_steps_equals_query_steps(api: Client, checkpointer: DjangoCheckpointer) -> None:
    history = save_history(checkpointer, "a", range(6))
    page = api.get(session_url("a", "steps/")).json()
    assert set(page) == {"checkpoints", "page_info"}
    assert page["page_info"] == {
        "total_count": 6,
        "page_size": 6,
        "offset": 0,
        "has_next_page": False,
    }
    for document, checkpoint in zip(page["checkpoints"], reversed(history), strict=True):
        assert document.pop("url") == f"{HOST}{step_url('a', checkpoint.step)}"
        assert document == json.loads(serde.dumps(checkpoint))


@pytest.mark.parametrize(
    ("query", "steps", "total", "more"),
    [
        ("limit=2", [5, 4], 6, True),
        ("limit=2&offset=3", [2, 1], 6, True),
        ("limit=0", [], 6, True),
        ("limit=9223372036854775807", [5, 4, 3, 2, 1, 0], 6, False),
        ("offset=9223372036854775807", [], 6, False),
        ("min_step=4", [5, 4], 2, False),
        ("max_step=1", [1, 0], 2, False),
        ("min_step=2&max_step=3", [3, 2], 2, False),
        ("ran_node=odd", [5, 3, 1], 3, False),
        ("ran_node=Custom:odd&limit=1", [5], 3, True),
        ("ran_node=od", [], 0, False),
        ("ran_node=", [], 0, False),
        ("skipped_node=review&max_step=0", [0], 1, False),
        ("skipped_node=odd", [], 0, False),
        ("limits=2&step=1&format=json&%00=1", [5, 4, 3, 2, 1, 0], 6, False),
    ],
)
def test_query_parameters_of_steps(
    api: Client,
    checkpointer: DjangoCheckpointer,
    query: str,
    steps: list[int],
    total: int,
    more: bool,
) -> None:
    save_history(checkpointer, "a", range(6))
    page = api.get(session_url("a", f"steps/?{query}")).json()
    assert [each["step"] for each in page["checkpoints"]] == steps
    info = page["page_info"]
    assert (info["total_count"], info["page_size"], info["has_next_page"]) == (
        total,
        len(steps),
        more,
    )


def test_a_save_returns_201_for_a_new_step_and_200_for_a_replaced_one(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    for step, status in ((1, 201), (1, 200), (2, 201), (0, 201), (0, 200)):
        saved = a_checkpoint("a", step, frontier=[f"after {status}"])
        answer = put(api, step_url("a", step), serde.dumps(saved))
        assert answer.status_code == status
        url = f"{HOST}/api/sessions/a/steps/{step}/"
        assert answer.json() == {"session_id": "a", "step": step, "url": url}
        assert answer.headers.get("Location") == (url if status == 201 else None)
        assert checkpointer.load("a", step) == saved
    assert Session.objects.get().revision == 5


def test_a_body_may_omit_session_id_and_step(api: Client, checkpointer: DjangoCheckpointer) -> None:
    document = json.loads(serde.dumps(a_checkpoint("a", 4)))
    for left_out in (("session_id",), ("step",), ("session_id", "step")):
        body = {key: value for key, value in document.items() if key not in left_out}
        assert put(api, step_url("a", 4), body).status_code in (200, 201)
        assert checkpointer.load("a", 4) == a_checkpoint("a", 4)


@pytest.mark.parametrize(
    "elsewhere", [{"session_id": "b"}, {"session_id": "A"}, {"step": 5}, {"step": 0}], ids=str
)
def test_a_body_with_another_session_id_or_step_is_refused(
    api: Client, elsewhere: dict[str, Any]
) -> None:
    body = json.loads(serde.dumps(a_checkpoint("a", 4))) | elsewhere
    path = f"$.{next(iter(elsewhere))}"
    assert_error(put(api, step_url("a", 4), body), 400, "invalid", path)
    assert not Session.objects.exists()


def test_a_response_can_be_saved_again(api: Client, checkpointer: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint(session_id="a", step=3)
    checkpointer.save(saved)
    body = api.get(step_url("a", 3)).content
    checkpointer.delete_session("a")
    assert put(api, step_url("a", 3), body).status_code == 201
    assert checkpointer.load("a", 3) == saved


def test_fork(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", range(5))
    answer = post(api, session_url("a", "fork/"), {"target": "a/b", "at_step": 2})
    assert answer.status_code == 201
    fork = answer.json()
    assert set(fork) == SMALL_COLUMNS
    assert (fork["id"], fork["last_step"]) == ("a/b", 2)
    assert (fork["forked_from"], fork["forked_at_step"]) == ("a", 2)
    assert fork["url"] == answer["Location"] == f"{HOST}/api/sessions/~YS9i/"
    assert api.get(fork["url"]).json() == fork
    whole = post(api, session_url("a", "fork/"), {"target": "c", "at_step": None})
    assert whole.json()["last_step"] == 4


def test_a_fork_that_is_deleted_before_it_is_read(
    api: Client, checkpointer: DjangoCheckpointer, monkeypatch: Any
) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    monkeypatch.setattr(DjangoCheckpointer, "fork_session", lambda *args, **kwargs: None)
    assert_error(post(api, session_url("a", "fork/"), {"target": "b"}), 404, "not_found")


def test_fork_errors(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", [2, 3])
    save_history(checkpointer, "b", [1])
    fork = session_url("a", "fork/")
    assert_error(post(api, fork, {"target": "b"}), 409, "session_exists")
    assert_error(post(api, fork, {"target": "a"}), 409, "session_exists")
    assert_error(post(api, fork, {"target": "c", "at_step": 1}), 404, "not_found")
    missing = post(api, session_url("missing", "fork/"), {"target": "c"})
    assert_error(missing, 404, "not_found")
    assert set(checkpointer.list_sessions()) == {"a", "b"}


def test_a_missing_session_is_404_for_every_call(api: Client) -> None:
    for path in ("", "latest/", "steps/", "steps/1/", "diff/?from=1&to=1"):
        assert_error(api.get(session_url("missing", path)), 404, "not_found")
    assert_error(api.delete(session_url("missing")), 404, "not_found")


def test_unknown_urls(api: Client) -> None:
    for path in ("sessions//", "sessions//latest/", "sessions/a/b/", "sessions/a/steps/1/2/"):
        assert_error(api.get(f"/api/{path}"), 404, "not_found")
    assert Client().get("/api/sessions/a/b/").status_code == 403


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("debug", [False, True])
def test_urls_without_a_trailing_slash(
    api: Client, checkpointer: DjangoCheckpointer, settings: Any, call: Call, debug: bool
) -> None:
    settings.DEBUG = debug
    save_history(checkpointer, "run", [1, 2])
    before = everything_stored()
    address, _, query = (SESSIONS + call.path).partition("?")
    body = call.body or b""
    answer = api.generic(call.method.upper(), f"{address[:-1]}?{query}", body, "application/json")
    assert "slash" in assert_error(answer, 404, "not_found")["detail"]
    assert everything_stored() == before


def test_methods_not_allowed(api: Client) -> None:
    for method, path in (
        ("post", SESSIONS),
        ("put", session_url("a")),
        ("patch", step_url("a", 1)),
        ("delete", step_url("a", 1)),
        ("post", session_url("a", "steps/")),
        ("get", session_url("a", "fork/")),
        ("delete", session_url("a", "latest/")),
    ):
        answer = getattr(api, method)(path)
        assert_error(answer, 405, "method_not_allowed")
        assert "GET" in answer["Allow"] or "POST" in answer["Allow"]


@pytest.mark.parametrize("path", ["", "a/", "a/latest/", "a/steps/", "a/steps/1/"])
def test_head_and_options(api: Client, checkpointer: DjangoCheckpointer, path: str) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    head = api.head(SESSIONS + path)
    assert (head.status_code, head.content) == (200, b"")
    assert api.options(SESSIONS + path).status_code == 200
