"""Object permissions and a restricted queryset apply to every deletion, prunes included."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.http import HttpRequest
from django.test import Client
from django.urls import path
from django.utils import timezone

from tests.admin.example_runs import body
from tests.builders import save_history
from weavegraph_checkpoints.admin import SessionAdmin
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.admin.views import prune
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db


class ByQueryset(SessionAdmin):
    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).owned_by("me")


class ByViewPermission(SessionAdmin):
    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and (obj is None or obj.owner == "me")


class ByDeletePermission(SessionAdmin):
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.owner == "me")


class ByObject(SessionAdmin):
    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        obj = super().get_object(request, object_id, from_field)
        return obj if obj is not None and obj.owner == "me" else None


RESTRICTED = {
    "queryset": ByQueryset,
    "view": ByViewPermission,
    "delete": ByDeletePermission,
}
sites = {name: admin.AdminSite(name=name) for name in (*RESTRICTED, "object")}
for name, model_admin in {**RESTRICTED, "object": ByObject}.items():
    sites[name].register(Session, model_admin)
urlpatterns = [path(f"{name}/", site.urls) for name, site in sites.items()]

restricted = pytest.mark.parametrize("name", RESTRICTED)
RULES = [{"keep_last": "1"}, {"delete_inactive": "1d"}]


@pytest.fixture(autouse=True)
def owners(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    for owner in ("me", "you"):
        for number in range(3):
            save_history(DjangoCheckpointer(owner=owner), f"of-{owner}-{number}", [1, 2, 3])
    Session.objects.update(updated_at=timezone.now() - timedelta(days=9))


def steps_of(owner: str) -> int:
    return Step.objects.filter(session__owner=owner).count()


def prune_url(name: str) -> str:
    return SessionURLs(name).get_url("prune")


@restricted
@pytest.mark.parametrize("rule", RULES)
def test_the_preview_counts_and_names_the_permitted_sessions_only(
    admin_client: Client, name: str, rule: dict[str, str]
) -> None:
    response = admin_client.post(prune_url(name), {**rule, "stage": "preview"})
    html = body(response)
    assert "of-me-0" in html
    assert "of-you" not in html
    expected = "6 steps and 0 sessions" if "keep_last" in rule else "9 steps and 3 sessions"
    assert f"{expected} would be deleted" in html
    for session in ("of-you-1", "of-me-1"):
        html = body(
            admin_client.post(prune_url(name), {**rule, "session": session, "stage": "preview"})
        )
        for entered in (f'value="{session}"', f"<dd><bdi>{session}</bdi></dd>"):
            html = html.replace(entered, "")
        assert (session in html) == (session == "of-me-1")


@restricted
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("more", [{}, {"owner": "you"}, {"session": "of-you-1"}])
def test_a_prune_deletes_from_the_permitted_sessions_only(
    admin_client: Client, name: str, rule: dict[str, str], more: dict[str, str]
) -> None:
    response = admin_client.post(prune_url(name), {**rule, **more, "stage": "run"})
    assert response.status_code == 302
    assert steps_of("you") == 9
    left = 9 if more else 3 if "keep_last" in rule else 0
    assert steps_of("me") == left
    assert Session.objects.filter(owner="you").count() == 3


@restricted
def test_a_bulk_deletion_is_refused(admin_client: Client, name: str) -> None:
    form = {
        "action": "delete_selected",
        "_selected_action": ["of-me-1", "of-you-1"],
        "index": "0",
        "post": "yes",
    }
    admin_client.post(SessionURLs(name).get_changelist_url(), form)
    assert steps_of("you") == 9


@restricted
def test_requests_continue_where_the_last_one_ended(
    admin_client: Client, monkeypatch: Any, name: str
) -> None:
    save_history(DjangoCheckpointer(owner="me"), "of-me-\n", [1, 2])
    # Each look at the clock takes a second.
    clock = SimpleNamespace(monotonic=partial(next, count()))
    monkeypatch.setattr(prune, "time", clock)
    monkeypatch.setattr(prune, "SESSION_PAGE_SIZE", 1)
    form = {"keep_last": "1", "stage": "run"}
    html = body(admin_client.post(prune_url(name), form | {"stage": "preview"}))
    assert "At least" in html
    assert "prune_checkpoints" not in html
    response = admin_client.post(prune_url(name), form)
    requests = 1
    while response.status_code == 200:
        context = response.context_data  # type: ignore[attr-defined]
        html = body(response)
        assert "Continue" in html
        assert "prune_checkpoints" not in html
        data = {key: context[key] for key in ("steps", "sessions", "after")}
        if data["after"]:
            assert f'name="after" value="{data["after"]}"' in html
        response = admin_client.post(prune_url(name), form | data)
        requests += 1
        assert requests < 50
    assert requests > 2
    assert (steps_of("me"), steps_of("you")) == (4, 9)


@restricted
@pytest.mark.parametrize("after", ["\0", "~", "of-me-2", "~" + "A" * 2000])
def test_any_text_can_be_the_last_session(admin_client: Client, name: str, after: str) -> None:
    form = {"keep_last": "1", "stage": "run", "after": after}
    assert admin_client.post(prune_url(name), form).status_code == 302
    assert steps_of("you") == 9


def test_pruning_is_closed_if_only_get_object_is_restricted(admin_client: Client) -> None:
    assert admin_client.get(prune_url("object")).status_code == 403
    assert "prune/" not in body(admin_client.get(SessionURLs("object").get_changelist_url()))


def test_the_admin_itself_has_no_object_rules() -> None:
    assert not SessionAdmin(Session, admin.site).has_object_rules()
