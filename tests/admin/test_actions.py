from __future__ import annotations

import io
import re
import shlex
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.core.management import call_command
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from tests.admin.conftest import get_user
from tests.admin.example_runs import BASE, a_run, body, create_session_with_steps, session_urls
from tests.builders import everything_stored, wrong_snapshots
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin.views import prune
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db


def get_log() -> list[tuple[Any, ...]]:
    return list(
        LogEntry.objects.order_by("pk").values_list(
            "action_flag", "object_id", "change_message", "user__username"
        )
    )


class TestFork:
    def test_fork_redirects_to_the_new_session(self, admin_client: Client, run: str) -> None:
        response = admin_client.post(
            session_urls.get_url("fork", run), {"target": "copy", "at_step": "4"}
        )
        assert response["Location"] == session_urls.get_session_url("copy")
        made = Session.objects.get(pk="copy")
        assert (made.last_step, made.forked_from, made.forked_at_step) == (4, run, 4)
        assert get_log() == [(ADDITION, "copy", "Forked from run/1 at step 4.", "superuser")]
        assert "Forked from run/1 at step 4." in body(admin_client.get(response["Location"]))

    def test_initial_values_of_the_form(self, admin_client: Client, run: str) -> None:
        html = body(admin_client.get(session_urls.get_url("fork", run, query={"at": 3})))
        assert 'value="run/1-fork"' in html
        assert 'name="at_step" value="3"' in html
        assert 'name="at_step" value="6"' in body(
            admin_client.get(session_urls.get_url("fork", run))
        )

    @pytest.mark.parametrize(
        ("form", "message"),
        [
            ({"target": "run/1", "at_step": "4"}, "A session with this id already exists."),
            ({"target": "x", "at_step": "0"}, "no step at or before this one"),
            ({"target": "x" * 256, "at_step": "1"}, "at most 255 characters"),
            ({"target": "a\0", "at_step": "1"}, "Null characters are not allowed."),
            ({"target": "", "at_step": "1"}, "This field is required."),
            ({"target": "x", "at_step": "-1"}, "greater than or equal to 0"),
            ({"target": "x", "at_step": str(2**63)}, "less than or equal to"),
            ({"target": "x", "at_step": "9" * 5000}, "Enter a whole number."),
        ],
    )
    def test_invalid_values_are_field_errors(
        self, admin_client: Client, run: str, form: dict[str, str], message: str
    ) -> None:
        before = everything_stored()
        assert message in body(admin_client.post(session_urls.get_url("fork", run), form))
        assert everything_stored() == before
        assert get_log() == []

    def test_any_session_id_can_be_the_target(self, admin_client: Client, run: str) -> None:
        for target in (" ", "..", "a/b", "<b>", "日本"):
            admin_client.post(session_urls.get_url("fork", run), {"target": target, "at_step": "2"})
            assert Session.objects.filter(pk=target).exists()


class TestDelete:
    def test_delete_removes_the_session_with_its_steps(
        self, admin_client: Client, run: str
    ) -> None:
        create_session_with_steps("other", 3)
        assert "Steps: 6" in body(admin_client.get(session_urls.get_url("delete", run)))
        response = admin_client.post(session_urls.get_url("delete", run), {"post": "yes"})
        assert response["Location"] == session_urls.get_changelist_url()
        assert set(Step.objects.values_list("session_id", flat=True)) == {"other"}
        assert [entry[:2] for entry in get_log()] == [(DELETION, run)]

    def test_delete_selected_sessions(self, admin_client: Client, run: str) -> None:
        for session_id in ("b", "a", ".."):
            create_session_with_steps(session_id, 2)
        form = {"action": "delete_selected", "_selected_action": ["b", "a", "..", "a\0", "none"]}
        html = body(admin_client.post(session_urls.get_changelist_url(), form | {"index": "0"}))
        assert "Steps: 6" in html
        assert Session.objects.count() == 4
        admin_client.post(session_urls.get_changelist_url(), form | {"index": "0", "post": "yes"})
        assert list(Session.objects.values_list("pk", flat=True)) == [run]
        assert Step.objects.count() == 6
        assert sorted(entry[1] for entry in get_log()) == ["..", "a", "b"]

    def test_the_confirmation_reads_no_step(self, admin_client: Client) -> None:
        create_session_with_steps("long", 200)
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(session_urls.get_url("delete", "long"))
        about_steps = [q["sql"] for q in captured if "weavegraph_checkpoints_step" in q["sql"]]
        assert len(about_steps) == 1
        assert "COUNT(" in about_steps[0]

    @pytest.mark.vendor("sqlite")
    def test_steps_are_counted_up_to_10_000(self, admin_client: Client) -> None:
        create_session_with_steps("long", 10_001)
        assert "Steps: 10,000+" in body(admin_client.get(session_urls.get_url("delete", "long")))


class TestPrune:
    url = f"{BASE}prune/"

    def test_preview_deletes_nothing(self, admin_client: Client, run: str) -> None:
        before = everything_stored()
        html = body(admin_client.post(self.url, {"keep_last": "2", "stage": "preview"}))
        assert "4 steps and 0 sessions would be deleted" in html
        assert 'type="hidden" name="keep_last" value="2"' in html
        assert session_urls.get_session_url(run) in html
        assert everything_stored() == before
        assert re.findall(r"<dt>(.*?)</dt><dd><bdi>(.*?)</bdi>", html) == [("Keep last", "2")]
        assert get_log() == []

    def test_prune_redirects_to_the_list(self, admin_client: Client, run: str) -> None:
        response = admin_client.post(self.url, {"keep_last": "2", "stage": "run"})
        assert response["Location"] == session_urls.get_changelist_url()
        assert list(Step.objects.order_by("step").step_numbers()) == [5, 6]
        assert wrong_snapshots() == []
        assert get_log() == [
            (DELETION, None, "Pruned 4 steps and 0 sessions (keep_last: 2).", "superuser")
        ]
        assert "Pruned 4 steps and 0 sessions." in body(
            admin_client.get(session_urls.get_changelist_url())
        )

    def test_prune_continues_over_several_requests(
        self, admin_client: Client, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(prune, "MAX_BATCHES_PER_REQUEST", 1)
        create_session_with_steps("long", 2_500)
        form = {"keep_last": "1", "stage": "run"}
        totals = []
        response = admin_client.post(self.url, form)
        while response.status_code == 200:
            context = response.context_data  # type: ignore[attr-defined]
            totals.append(context["steps"])
            assert "Continue" in body(response)
            counts = {"steps": str(context["steps"]), "sessions": str(context["sessions"])}
            response = admin_client.post(self.url, form | counts)
        assert totals == [1_000, 2_000]
        assert "Pruned 2,499 steps" in body(admin_client.get(response["Location"]))
        assert Step.objects.count() == 1
        assert len(get_log()) == 3

    def test_requests_have_a_time_limit(self, admin_client: Client, monkeypatch: Any) -> None:
        monkeypatch.setattr(prune, "MAX_SECONDS_PER_REQUEST", 0)
        create_session_with_steps("long", 1_500)
        html = body(admin_client.post(self.url, {"keep_last": "1", "stage": "preview"}))
        assert "At least 1,499 steps" in html
        response = admin_client.post(self.url, {"keep_last": "1", "stage": "run"})
        assert response.context_data["steps"] == 1_000  # type: ignore[attr-defined]

    def test_the_command_is_shown_if_a_request_finds_nothing_in_time(
        self, admin_client: Client, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(prune, "MAX_SECONDS_PER_REQUEST", 0)
        create_session_with_steps("a run", 2)
        form = {"keep_last": "5", "session": "a run", "stage": "run"}
        response = admin_client.post(self.url, form | {"steps": "7", "sessions": "0"})
        html = body(response)
        assert "Pruned 7 steps and 0 sessions so far. Finding the rest takes longer" in html
        assert "Continue" not in html
        command = "manage.py prune_checkpoints --keep-last=5 --session='a run'"
        assert response.context_data["command"] == command  # type: ignore[attr-defined]
        call_command(*shlex.split(command)[1:], "--dry-run", stdout=io.StringIO())
        assert escape(command) in html
        assert escape(command) in body(admin_client.post(self.url, form | {"stage": "preview"}))
        assert get_log() == []

    def test_inactive_sessions_are_deleted(self, admin_client: Client, run: str) -> None:
        create_session_with_steps("idle", 2)
        Session.objects.filter(pk="idle").update(updated_at=timezone.now() - timedelta(days=9))
        html = body(admin_client.post(self.url, {"delete_inactive": "1w", "stage": "preview"}))
        assert "2 steps and 1 session would be deleted" in html
        admin_client.post(self.url, {"delete_inactive": "1w", "stage": "run"})
        assert list(Session.objects.values_list("pk", flat=True)) == [run]

    def test_prune_can_be_limited_to_a_session_a_status_and_an_owner(
        self, admin_client: Client, run: str
    ) -> None:
        create_session_with_steps("other", 5)
        form = {"keep_last": "1", "session": "other", "status": "resumable", "stage": "run"}
        admin_client.post(self.url, form)
        assert Step.objects.filter(session_id=run).count() == 6
        assert Step.objects.filter(session_id="other").count() == 1
        assert get_log()[0][1] == "other"
        assert "0 steps" in body(
            admin_client.post(self.url, form | {"owner": "me", "stage": "preview"})
        )

    @pytest.mark.parametrize(
        ("form", "message"),
        [
            ({}, "Set at least one of the first three fields."),
            ({"session": "a"}, "Set at least one of the first three fields."),
            ({"keep_last": "0"}, "greater than or equal to 1"),
            ({"older_than": "soon"}, "Enter a duration such as 30d, 12h, 2w or 90m"),
            ({"older_than": "999999999999w"}, "Enter a duration such as 30d, 12h, 2w or 90m"),
            ({"keep_last": "1", "status": "lost"}, "Select a valid choice."),
        ],
    )
    @pytest.mark.parametrize("stage", ["preview", "run"])
    def test_invalid_policies_are_form_errors(
        self, admin_client: Client, run: str, stage: str, form: dict[str, str], message: str
    ) -> None:
        before = everything_stored()
        assert message in body(admin_client.post(self.url, form | {"stage": stage}))
        assert everything_stored() == before

    def test_no_prune_button_if_nothing_matches(self, admin_client: Client, run: str) -> None:
        html = body(admin_client.post(self.url, {"older_than": "999999w", "stage": "preview"}))
        assert "0 steps and 0 sessions would be deleted" in html
        assert 'value="run"' not in html


@pytest.mark.django_db(transaction=True)
def test_a_download_streams_under_asgi_too() -> None:
    for checkpoint in a_run("run"):
        DjangoCheckpointer().save(checkpoint)

    async def lines() -> list[bytes]:
        client = AsyncClient()
        await client.aforce_login(user)
        response: Any = await client.get(session_urls.get_url("download", "run"))
        assert response.is_async
        return [line async for line in response.streaming_content]

    user = get_user("viewer")
    assert [serde.loads(line) for line in async_to_sync(lines)()] == a_run("run")
