"""What a project can customise: templates, the queryset, permissions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin import AllValuesFieldListFilter as AllValues
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template import loader
from django.test import Client
from django.urls import path

from tests.admin.example_runs import a_run, body
from weavegraph_checkpoints.admin import SessionAdmin, changelist
from weavegraph_checkpoints.admin.base import BaseSessionAdmin
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("two_owners")]


class RestrictedAdmin(SessionAdmin):
    """Show the sessions of one owner, forbid pruning, and use a custom template."""

    session_template = "own.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(owner="me")

    def has_prune_permission(self, request: HttpRequest) -> bool:
        return False


class OwnerFilter(admin.SimpleListFilter):
    title = "owner"
    parameter_name = "of"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("me", "mine")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(owner=self.value()) if self.value() else queryset


class OtherChangeList(ChangeList):
    """The change list of another base class, such as that of a theme."""


class OtherAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Another base class, which adds a column."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return OtherChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        return (*super().get_list_display(request), "concurrency_limit")


class HookedAdmin(SessionAdmin, OtherAdmin):
    """Override what Django's documentation lists for a ``ModelAdmin``."""

    list_filter = (*SessionAdmin.list_filter, OwnerFilter, "owner", ("forked_from", AllValues))
    search_fields = ("id", "owner")
    date_hierarchy = "created_at"
    ordering = ("id",)
    sortable_by = ("updated", "owner_name")
    paginator = Paginator
    preserve_filters = False
    deleted: list[str] = []

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        found, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        return [*found, "and more"], counts, perms_needed, protected

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.deleted.append(f"delete_model {obj.pk}")
        super().delete_model(request, obj)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        self.deleted.append("log_deletions")
        return super().log_deletions(request, queryset)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        response = super().response_delete(request, obj_display, obj_id)
        response["X-Deleted"] = obj_id
        return response

    def get_urls(self) -> list[Any]:
        return [path("hello/", self.hello, name="hello"), *super().get_urls()]

    def hello(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("hello")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Runs", **(extra_context or {})})


site = admin.AdminSite(name="narrow")
site.register(Session, RestrictedAdmin)
hooked_site = admin.AdminSite(name="hooked")
hooked_site.register(Session, HookedAdmin)
urlpatterns = [
    path("narrow/", site.urls),
    path("hooked/", hooked_site.urls),
    path("admin/", admin.site.urls),
]
session_urls = SessionURLs("narrow")
hooked_urls = SessionURLs("hooked")


@pytest.fixture
def narrow(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def two_owners(db: None) -> None:
    for owner in ("me", "you"):
        for checkpoint in a_run(f"of-{owner}"):
            DjangoCheckpointer(owner=owner).save(checkpoint)


@pytest.mark.usefixtures("narrow")
def test_a_restricted_queryset_restricts_every_page(admin_client: Client) -> None:
    listed = body(admin_client.get(session_urls.get_changelist_url()))
    assert "of-me" in listed
    assert "of-you" not in listed
    for session_id, status in (("of-me", 200), ("of-you", 404)):
        for url in (
            session_urls.get_step_url(session_id, 3),
            session_urls.get_url("value", session_id, 3),
            session_urls.get_url("raw", session_id, 3),
            session_urls.get_url("compare", session_id),
            session_urls.get_url("download", session_id),
            session_urls.get_url("fork", session_id),
            session_urls.get_url("delete", session_id),
            session_urls.get_url("history", session_id),
        ):
            assert admin_client.get(url).status_code == status, url
    page = admin_client.get(session_urls.get_compare_url("of-me", 1, 2, "of-you"))
    assert "The session to compare with does not exist." in body(page)
    assert admin_client.get(session_urls.get_url("prune")).status_code == 403


@pytest.mark.usefixtures("narrow")
def test_links_stay_in_their_admin_site(admin_client: Client) -> None:
    assert session_urls.get_session_url("of-me").startswith("/narrow/")
    html = body(admin_client.get(session_urls.get_step_url("of-me", 3)))
    assert 'href="/narrow/' in html
    assert 'href="/admin/' not in html


@pytest.mark.usefixtures("narrow")
def test_a_template_can_be_replaced(admin_client: Client, tmp_path: Any, settings: Any) -> None:
    (tmp_path / "own.html").write_text(
        '{% extends "admin/weavegraph_checkpoints/session/session.html" %}'
        "{% block content %}<p>Ours.</p>{{ block.super }}{% endblock %}"
    )
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    html = body(admin_client.get(session_urls.get_session_url("of-me")))
    assert "<p>Ours.</p>" in html
    assert "The weave" in html


def get_hooked_ids(client: Client, **query: str) -> list[str]:
    response = client.get(hooked_urls.get_changelist_url(), query)
    assert response.status_code == 200
    return [session.pk for session in response.context["cl"].result_list]


@pytest.mark.usefixtures("narrow")
def test_a_subclass_can_filter_search_and_sort_by_other_fields(admin_client: Client) -> None:
    every = ["of-me", "of-you"]
    assert get_hooked_ids(admin_client) == every
    assert get_hooked_ids(admin_client, of="me") == ["of-me"]
    assert get_hooked_ids(admin_client, owner="you") == ["of-you"]
    assert get_hooked_ids(admin_client, owner__in="me,you") == every
    assert get_hooked_ids(admin_client, forked_from="x") == []
    assert get_hooked_ids(admin_client, created_at__year="2001") == []
    assert get_hooked_ids(admin_client, last_state__contains="x") == every
    assert get_hooked_ids(admin_client, q="you") == ["of-you"]
    names = admin_client.get(hooked_urls.get_changelist_url()).context["cl"].list_display
    assert names[-1] == "concurrency_limit"
    column = names.index("owner_name")
    assert get_hooked_ids(admin_client, o=f"-{column}") == ["of-you", "of-me"]
    newest = Session.objects.get(pk="of-me").updated_at
    Session.objects.filter(pk="of-you").update(updated_at=newest - timedelta(seconds=1))
    oldest_first = ["of-you", "of-me"]
    assert get_hooked_ids(admin_client, o=str(names.index("updated"))) == oldest_first


@pytest.mark.usefixtures("narrow")
def test_the_hooks_of_a_subclass_and_of_another_base_class_are_called(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HookedAdmin, "deleted", [])
    listed = admin_client.get(hooked_urls.get_changelist_url(), {"errors": "yes"})
    assert isinstance(listed.context["cl"], OtherChangeList)
    assert listed.context["title"] == "Runs"
    assert "_changelist_filters" not in body(listed)
    assert body(admin_client.get("/hooked/weavegraph_checkpoints/session/hello/")) == "hello"
    url = hooked_urls.get_url("delete", "of-me")
    assert "and more" in body(admin_client.get(url))
    response = admin_client.post(url, {"post": "yes"})
    assert response["X-Deleted"] == "of-me"
    selected = {"action": "delete_selected", "_selected_action": "of-you", "post": "yes"}
    admin_client.post(hooked_urls.get_changelist_url(), selected)
    assert HookedAdmin.deleted == [
        "log_deletions",
        "delete_model of-me",
        "log_deletions",
        "delete_model of-you",
    ]
    assert not Session.objects.exists()


@pytest.mark.usefixtures("narrow")
def test_the_stock_paginator_counts_every_session(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelist, "MAX_COUNTED", 1)
    assert "2 sessions" in body(admin_client.get(hooked_urls.get_changelist_url()))


def test_every_template_attribute_names_a_template() -> None:
    names = [name for name in vars(BaseSessionAdmin) if name.endswith("_template")]
    assert len(names) == 11
    for name in names:
        assert loader.get_template(getattr(BaseSessionAdmin, name))
