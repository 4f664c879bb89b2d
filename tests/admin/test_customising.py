"""What a project can customise: templates, the queryset, permissions."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.http import HttpRequest
from django.template import loader
from django.test import Client
from django.urls import path

from tests.admin.example_runs import a_run, body
from weavegraph_checkpoints.admin import SessionAdmin
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


site = admin.AdminSite(name="narrow")
site.register(Session, RestrictedAdmin)
urlpatterns = [
    path("narrow/", site.urls),
    path("admin/", admin.site.urls),
]
session_urls = SessionURLs("narrow")


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


def test_every_template_attribute_names_a_template() -> None:
    names = [name for name in vars(BaseSessionAdmin) if name.endswith("_template")]
    assert len(names) == 9
    for name in names:
        assert loader.get_template(getattr(BaseSessionAdmin, name))
