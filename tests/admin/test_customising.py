"""What a project may change: templates, which sessions are shown, permissions."""

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
from weavegraph_checkpoints.admin.base import HistoryAdmin
from weavegraph_checkpoints.admin.urls import Addresses
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("two_owners")]


class NarrowAdmin(SessionAdmin):
    """Shows the sessions of one owner, lets nobody prune, and has a template of its own."""

    session_template = "own.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(owner="me")

    def has_prune_permission(self, request: HttpRequest) -> bool:
        return False


site = admin.AdminSite(name="narrow")
site.register(Session, NarrowAdmin)
urlpatterns = [
    path("narrow/", site.urls),
    path("admin/", admin.site.urls),
]
addresses = Addresses("narrow")


@pytest.fixture
def narrow(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def two_owners(db: None) -> None:
    for owner in ("me", "you"):
        for checkpoint in a_run(f"of-{owner}"):
            DjangoCheckpointer(owner=owner).save(checkpoint)


@pytest.mark.usefixtures("narrow")
def test_a_narrowed_admin_narrows_every_page(root: Client) -> None:
    listed = body(root.get(addresses.sessions()))
    assert "of-me" in listed
    assert "of-you" not in listed
    for session_id, status in (("of-me", 200), ("of-you", 404)):
        for url in (
            addresses.step(session_id, 3),
            addresses.of("value", session_id, 3),
            addresses.of("raw", session_id, 3),
            addresses.of("compare", session_id),
            addresses.of("download", session_id),
            addresses.of("fork", session_id),
            addresses.of("delete", session_id),
            addresses.of("history", session_id),
        ):
            assert root.get(url).status_code == status, url
    page = root.get(addresses.compare("of-me", 1, 2, "of-you"))
    assert "There is no such session to compare with." in body(page)
    assert root.get(addresses.of("prune")).status_code == 403


@pytest.mark.usefixtures("narrow")
def test_links_stay_in_their_site(root: Client) -> None:
    assert addresses.session("of-me").startswith("/narrow/")
    html = body(root.get(addresses.step("of-me", 3)))
    assert 'href="/narrow/' in html
    assert 'href="/admin/' not in html


@pytest.mark.usefixtures("narrow")
def test_a_template_can_be_replaced(root: Client, tmp_path: Any, settings: Any) -> None:
    (tmp_path / "own.html").write_text(
        '{% extends "admin/weavegraph_checkpoints/session/session.html" %}'
        "{% block content %}<p>Ours.</p>{{ block.super }}{% endblock %}"
    )
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    html = body(root.get(addresses.session("of-me")))
    assert "<p>Ours.</p>" in html
    assert "The weave" in html


def test_every_page_has_a_template_of_its_own_name() -> None:
    names = [name for name in vars(HistoryAdmin) if name.endswith("_template")]
    assert len(names) == 9
    for name in names:
        assert loader.get_template(getattr(HistoryAdmin, name))
