"""Tenancy: sessions of other owners are 404 for every call."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from tests.api.calls import CALLS, READS, Call
from tests.api.clients import (
    ALL,
    SESSIONS,
    assert_error,
    create_client,
    post,
    put,
    session_url,
    step_url,
)
from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session


@pytest.fixture(autouse=True)
def tenants(settings: Any, db: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"API_OWNER": "tests.api.owners.get_owner_by_name"}
    save_history(DjangoCheckpointer(owner="ann"), "run", [1, 2])
    save_history(DjangoCheckpointer(owner="ann"), "other", [1])
    save_history(DjangoCheckpointer(owner="bob"), "bobs", [1])
    Session.objects.create(id="empty", owner="ann")


@pytest.fixture
def ann() -> Client:
    return create_client(*ALL, username="ann")


@pytest.fixture
def bob() -> Client:
    return create_client(*ALL, username="bob")


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_the_owner_does_everything(call: Call, ann: Client) -> None:
    assert call.by(ann).status_code == call.status


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_user_without_an_owner_does_everything(call: Call) -> None:
    assert call.by(create_client(*ALL, username="admin")).status_code == call.status


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("name", ["bob", "Ann", "ann ", "an", ""])
def test_sessions_of_other_owners_are_404(call: Call, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("tests.api.owners.get_owner_by_name", lambda request: name)
    before = everything_stored()
    answer = call.by(create_client(*ALL))
    if call.name.startswith("list"):
        page = answer.json()
        own = ["bobs"] if name == "bob" and call.name == "list" else []
        assert (page["count"], [each["id"] for each in page["results"]]) == (len(own), own)
    else:
        missing = assert_error(answer, 404, "not_found")
        truly = Call(**{**vars(call), "path": call.path.replace("run", "nope")})
        if call.method != "put":
            expected = truly.by(create_client(*ALL)).json()
            assert missing["detail"] == expected["detail"].replace("nope", "run")
    assert everything_stored() == before


def test_filters_and_counts_stay_within_one_owner(bob: Client) -> None:
    for query in ("owner=ann", "id=run", "search=r", "owner=ann&search=ru", "status=empty"):
        page = bob.get(f"{SESSIONS}?{query}").json()
        assert (page["count"], page["results"]) == (0, [])
    assert bob.get(f"{SESSIONS}?owner=bob").json()["count"] == 1


def test_etags_of_other_owners_do_not_match(ann: Client, bob: Client) -> None:
    tag = ann.get(session_url("run", "latest/"))["ETag"]
    for known in (tag, "*"):
        answer = bob.get(session_url("run", "latest/"), headers={"If-None-Match": known})
        assert_error(answer, 404, "not_found")
        assert "ETag" not in answer


def test_a_fork_onto_a_session_of_another_owner(bob: Client) -> None:
    before = everything_stored()
    missing = post(bob, session_url("bobs", "fork/"), {"target": "run"})
    assert_error(missing, 404, "not_found")
    assert everything_stored() == before
    assert post(bob, session_url("bobs", "fork/"), {"target": "new"}).status_code == 201
    assert Session.objects.get(id="new").owner == "bob"


def test_a_save_creates_a_session_of_the_users_owner(ann: Client, bob: Client) -> None:
    body = serde.dumps(a_checkpoint("made", 1))
    assert put(bob, step_url("made", 1), body).status_code == 201
    assert Session.objects.get(id="made").owner == "bob"
    assert_error(put(ann, step_url("made", 1), body), 404, "not_found")
    for path in ("", "?expected_last_step=0"):
        refused = put(bob, step_url("empty", 1) + path, serde.dumps(a_checkpoint("empty", 1)))
        assert_error(refused, 404, "not_found")


def test_change_step_does_not_reveal_sessions_of_other_owners() -> None:
    client = create_client("change_step", username="bob")
    answers = [
        assert_error(
            put(client, step_url(each, 1), serde.dumps(a_checkpoint(each, 1))),
            403,
            "permission_denied",
        )
        for each in ("run", "nope")
    ]
    assert answers[0] == answers[1]


def test_a_user_without_an_owner_keeps_the_sessions_owner(ann: Client) -> None:
    admin = create_client(*ALL, username="admin")
    assert put(admin, step_url("run", 3), serde.dumps(a_checkpoint("run", 3))).status_code == 201
    assert Session.objects.get(id="run").owner == "ann"
    assert admin.get(SESSIONS).json()["count"] == 4


@pytest.mark.parametrize("call", READS, ids=str)
def test_an_invalid_owner_is_a_configuration_error(call: Call, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"API_OWNER": "tests.api.owners.get_invalid_owner"}
    client = create_client(*ALL)
    client.raise_request_exception = True
    with pytest.raises(ImproperlyConfigured):
        call.by(client)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_permissions_are_checked_before_api_owner_is_called(call: Call, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"API_OWNER": "tests.api.owners.get_invalid_owner"}
    assert_error(call.by(Client()), 403, "not_authenticated")
    assert_error(call.by(create_client()), 403, "permission_denied")
