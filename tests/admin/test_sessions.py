"""The admin of sessions: read-only, and its list reads no state."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from tests.builders import save_history
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

LIST = "admin:weavegraph_checkpoints_session_changelist"
IDS = [
    *[
        "a",
        "A",
        "a ",
        " ",
        "..",
        ".",
        "a/b",
        "airline/3/trial-1",
        "a//b",
        "/",
        "new\nline",
        "tab\t",
    ],
    *[
        "100%",
        "a_b",
        "_2F",
        "日本",
        "😀",
        "á",
        "quote'\"",
        "<b>bold</b>",
        "?q=1&r=2#top",
        "x" * 255,
    ],
    *["add", "1/change", "a/history/", "a\\b", "%2F", "\x01"],
]
SECRET = "nobody shows this in a list"


def page(session_id: str, name: str = "change") -> str:
    return reverse(f"admin:weavegraph_checkpoints_session_{name}", args=[quote(session_id)])


@pytest.fixture
def staff(client: Client, db: Any) -> Client:
    """One who may view sessions, and has every other permission on them too."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__model="session"))
    client.force_login(user)
    return client


def test_the_list_shows_sessions_newest_first(staff: Client) -> None:
    for session_id in ("first", "second"):
        DjangoCheckpointer().save(a_checkpoint(session_id, 7))
    Session.objects.filter(id="first").update(updated_at="2020-01-01T00:00:00Z")
    text = staff.get(reverse(LIST)).content.decode()
    assert text.index(page("second")) < text.index(page("first"))
    assert "resumable" in text.lower()


@pytest.mark.parametrize("session_id", IDS, ids=ascii)
def test_every_id_is_reachable_from_the_list(staff: Client, session_id: str) -> None:
    DjangoCheckpointer().save(a_full_checkpoint(session_id=session_id))
    listed = staff.get(reverse(LIST))
    link = page(session_id)
    assert f'href="{escape(link)}' in listed.content.decode()
    shown = staff.get(link)
    assert shown.status_code == 200
    assert shown.context["original"].pk == session_id
    assert "<b>bold</b>" not in shown.content.decode()


def test_a_session_that_is_not_there_is_sent_back_to_the_index(staff: Client) -> None:
    assert staff.get(page("unknown")).status_code == 302


@pytest.mark.parametrize("superuser", [False, True])
def test_nobody_adds_changes_or_deletes(staff: Client, superuser: bool) -> None:
    User.objects.update(is_superuser=superuser)
    save_history(DjangoCheckpointer(), "session", [1, 2])
    stored = Session.objects.values().get()
    assert staff.get(reverse("admin:weavegraph_checkpoints_session_add")).status_code == 403
    assert staff.get(page("session", "delete")).status_code == 403
    assert staff.post(page("session", "delete"), {"post": "yes"}).status_code == 403
    assert staff.post(page("session"), {"owner": "me", "status": "empty"}).status_code == 403
    action = {"action": "delete_selected", "_selected_action": ["session"], "post": "yes"}
    staff.post(reverse(LIST), action)
    assert Session.objects.values().get() == stored
    text = staff.get(page("session")).content.decode()
    assert 'name="_save"' not in text
    assert "<textarea" not in text


def test_without_the_permission_to_view_there_is_nothing(client: Client, db: Any) -> None:
    DjangoCheckpointer().save(a_checkpoint())
    client.force_login(User.objects.create_user("other", is_staff=True))
    assert client.get(reverse(LIST)).status_code == 403
    assert client.get(page("session")).status_code == 403


def test_steps_are_not_in_the_admin(staff: Client) -> None:
    assert "step" not in {
        model["object_name"].lower()
        for app in staff.get(reverse("admin:index")).context["app_list"]
        for model in app["models"]
    }


def queries_of(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("options", ["", "?status__exact=resumable", "?q=s", "?o=8", "?p=1"])
def test_the_list_reads_no_state(staff: Client, options: str) -> None:
    for number in range(3):
        DjangoCheckpointer().save(a_full_checkpoint(session_id=f"s{number}"))
    for sql in queries_of(staff, reverse(LIST) + options):
        assert "weavegraph_checkpoints_step" not in sql
        for column in ("last_state`", 'last_state"', "last_versions_seen"):
            assert column not in sql


def test_the_detail_reads_no_state_that_it_does_not_show(staff: Client) -> None:
    save_history(DjangoCheckpointer(), "session", [1, 2], versions_seen={"n": {SECRET: 1}})
    for sql in queries_of(staff, page("session")):
        assert "weavegraph_checkpoints_step" not in sql
        for column in ("last_state`", 'last_state"', "last_versions_seen"):
            assert column not in sql


def test_the_number_of_queries_does_not_grow(staff: Client) -> None:
    counts = []
    checkpointer = DjangoCheckpointer()
    for size in (2, 60):
        for number in range(size):
            checkpointer.save(a_checkpoint(f"s{number}"))
        save_history(checkpointer, "session", range(size))
        counts.append(
            (len(queries_of(staff, reverse(LIST))), len(queries_of(staff, page("session"))))
        )
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 6


def test_the_search_is_by_the_beginning_of_an_id(staff: Client) -> None:
    for session_id in ("airline/1", "my airline/2", "air", "coding/1"):
        DjangoCheckpointer().save(a_checkpoint(session_id))
    found = staff.get(reverse(LIST), {"q": "airline/"}).context["cl"].queryset
    assert [session.id for session in found] == ["airline/1"]
