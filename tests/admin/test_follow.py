"""The Follow switch of a session, and the modules that it loads."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.admin.conftest import MakeClient
from tests.admin.example_runs import body, create_session_with_steps, session_urls
from tests.admin.hostile import SESSION_ID, a_hostile_run
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = pytest.mark.django_db

SIGNED_IN = 2


def save(step: int, session_id: str = "run", **fields: Any) -> None:
    DjangoCheckpointer().save(a_checkpoint(session_id, step, **fields))


def get_version(client: Client, session_id: str = "run", **query: str) -> str:
    """Return what the page of a session tells the script."""
    response = client.get(session_urls.get_session_url(session_id), query)
    version: str = response.context["version"]
    assert f'data-weave-version="{version}"' in body(response)
    return version


def ask(client: Client, known: str, session_id: str = "run", **query: str) -> Any:
    """Return the value that a module exports."""
    url = session_urls.get_url("follow", session_id)
    response = client.get(url, {"known": known, "at": "1-1", **query})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/javascript; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in response["Cache-Control"]
    text = body(response)
    assert text.isascii()
    return json.loads(text.removeprefix("export default ").removesuffix(";\n"))


def without_ages(html: str) -> str:
    """Return markup without texts such as "3 seconds ago"."""
    return re.sub(r"(<time[^>]*>)[^<]*", r"\1", html).strip()


def test_nothing_is_sent_while_nothing_changes(admin_client: Client) -> None:
    save(1)
    version = get_version(admin_client)
    assert ask(admin_client, version) is None
    assert ask(admin_client, version) is None


def test_a_change_is_the_content_of_the_page(admin_client: Client) -> None:
    save(1)
    version = get_version(admin_client)
    save(2)
    answer = ask(admin_client, version)
    assert (answer["is_finished"], answer["message"]) == (False, "Step 2, resumable")
    assert answer["version"] == get_version(admin_client) != version
    page = body(admin_client.get(session_urls.get_session_url("run")))
    assert without_ages(answer["html"]) in without_ages(page)
    assert ask(admin_client, answer["version"]) is None


@pytest.mark.parametrize("known", ["", "x", "0", "-1", "1e5-3", "\0", "9" * 5000])
def test_an_unknown_version_is_answered_with_the_content(admin_client: Client, known: str) -> None:
    save(1)
    assert 'data-weave-part="steps"' in ask(admin_client, known)["html"]


def test_a_replaced_step_is_a_change(admin_client: Client) -> None:
    save(1)
    version = get_version(admin_client)
    save(1, state=VersionedState.new_with_user_message("again"))
    assert ask(admin_client, version) is not None


def test_a_session_that_is_deleted_and_created_again(admin_client: Client) -> None:
    save(1)
    version = get_version(admin_client)
    DjangoCheckpointer().delete_session("run")
    url = session_urls.get_url("follow", "run")
    assert admin_client.get(url, {"known": version}).status_code == 404
    save(1)
    assert ask(admin_client, version) is not None


def test_the_first_step_of_a_session(admin_client: Client) -> None:
    Session.objects.create(id="run")
    version = get_version(admin_client)
    assert ask(admin_client, "")["message"] == "empty"
    save(0)
    answer = ask(admin_client, version)
    assert answer["message"] == "Step 0, resumable"
    assert "The weave" in answer["html"]


def test_the_end(admin_client: Client) -> None:
    save(1)
    version = get_version(admin_client)
    save(2, frontier=[])
    answer = ask(admin_client, version)
    assert (answer["is_finished"], answer["message"]) == (True, "Step 2, finished")


@pytest.mark.parametrize(
    ("session_id", "query", "is_offered"),
    [
        ("running", {}, True),
        ("running", {"node": "plan"}, True),
        ("running", {"nodes": "all"}, True),
        ("running", {"before": "70"}, False),
        ("running", {"after": "3"}, False),
        ("finished", {}, False),
        ("empty", {}, True),
    ],
)
def test_where_the_switch_is_offered(
    admin_client: Client, session_id: str, query: dict[str, str], is_offered: bool
) -> None:
    create_session_with_steps("running", 60)
    save(1, "finished", frontier=[])
    Session.objects.create(id="empty")
    url = session_urls.get_session_url(session_id)
    response = admin_client.get(url, query)
    text = body(response)
    assert ("weave-follow" in text) == ("follow.js" in text) == is_offered
    if is_offered:
        assert response.context["reload_url"] == response.request["PATH_INFO"] + (
            f"?{response.request['QUERY_STRING']}" if query else ""
        )


def test_the_content_is_that_of_the_filtered_page(admin_client: Client) -> None:
    create_session_with_steps("run", 60)
    for query in ({"node": "plan"}, {"nodes": "all"}, {"_changelist_filters": "errors=yes"}):
        page = admin_client.get(session_urls.get_session_url("run"), query)
        follow_url = page.context["follow_url"]
        response = admin_client.get(f"{follow_url}{'&' if '?' in follow_url else '?'}known=x&at=1")
        value = json.loads(body(response).removeprefix("export default ").removesuffix(";\n"))
        assert without_ages(value["html"]) in without_ages(body(page))
        assert "known=" not in value["html"]


def test_the_number_of_queries(admin_client: Client) -> None:
    for count in (10, 100):
        session_id = f"many-{count}"
        create_session_with_steps(session_id, count)
        version = get_version(admin_client, session_id)
        with CaptureQueriesContext(connection) as unchanged:
            assert ask(admin_client, version, session_id) is None
        with CaptureQueriesContext(connection) as changed:
            assert ask(admin_client, "", session_id) is not None
        assert (len(unchanged) - SIGNED_IN, len(changed) - SIGNED_IN) == (1, 5)
        for query in [*unchanged, *changed]:
            columns = query["sql"].partition(" FROM ")[0]
            assert connection.ops.quote_name("state") not in columns
            assert "last_state" + connection.ops.quote_name("")[0] not in columns


def test_hostile_text_stays_in_the_module(admin_client: Client) -> None:
    for checkpoint in a_hostile_run(SESSION_ID):
        DjangoCheckpointer().save(checkpoint)
    answer = ask(admin_client, "", SESSION_ID)
    assert "<script" not in answer["html"]


def test_permissions(make_client: MakeClient) -> None:
    save(1)
    url = session_urls.get_url("follow", "run")
    assert make_client("viewer").get(url).status_code == 200
    assert make_client("staff").get(url).status_code == 403
    assert make_client("anonymous").get(url).status_code == 302
    assert make_client("viewer").post(url).status_code == 405
