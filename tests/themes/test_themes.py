"""Every page of the admin works with the theme under test: ``make test-themes``."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from tests.admin.example_runs import a_run, body
from tests.admin.hostile import BIDI
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = [
    pytest.mark.themes,
    pytest.mark.django_db,
    pytest.mark.usefixtures("runs"),
    # Themes may use what the newest Django deprecates.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

RUN = "run/1"


@pytest.fixture(autouse=True)
def two_sites(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.themes.urls"


@pytest.fixture(params=["admin", "themed"])
def urls(request: Any) -> SessionURLs:
    """The URLs of the default admin site, and of one with the base class of the theme."""
    return SessionURLs(request.param, list_filters="errors=yes")


@pytest.fixture
def runs(db: None) -> None:
    for session_id in (RUN, "other", f"a{BIDI}b"):
        for checkpoint in a_run(session_id):
            DjangoCheckpointer(owner="me").save(checkpoint)
    Session.objects.create(id="empty")


def get_html(response: Any) -> str:
    assert response.status_code == 200
    html = body(response)
    assert "</html>" in html
    # The values of form fields are not shown, and have to be exact.
    assert "\u202e" not in re.sub(r'(value|data-popup-opener)="[^"]*"', "", html)
    return html


def test_the_theme_is_installed(admin_client: Client) -> None:
    marks = {"unfold": "unfold/css", "jazzmin": "jazzmin/css", "admin_interface": "admin-interface"}
    assert marks[settings.THEME] in get_html(admin_client.get("/admin/"))


def test_pages_that_are_read(admin_client: Client, urls: SessionURLs) -> None:
    expected = {
        urls.get_changelist_url(): RUN,
        f"{urls.get_changelist_url()}&q=nothing": "No sessions match.",
        f"{urls.get_changelist_url()}&_popup=1&_to_field=id": "data-popup-opener",
        urls.get_session_url(RUN): "The weave",
        urls.get_session_url(RUN, node="plan"): "Weave of node",
        urls.get_session_url(RUN, _popup=1): "The weave",
        urls.get_session_url("empty"): "This session has no steps yet.",
        urls.get_session_url(f"a{BIDI}b"): "The weave",
        urls.get_step_url(RUN, 5): "Conversation",
        urls.get_url("value", RUN, 5): "state",
        urls.get_compare_url(RUN, 2, 5): "+3 messages",
        urls.get_url("fork", RUN): "New session id",
        urls.get_url("prune"): "Keep last",
        urls.get_url("history", RUN): "change history",
        urls.get_url("history", f"a{BIDI}b"): "change history",
        urls.get_url("delete", RUN): f">{RUN}<",
        urls.get_url("delete", f"a{BIDI}b"): "Are you sure",
    }
    for url, text in expected.items():
        assert text in get_html(admin_client.get(url)), url


def test_titles_are_shown(admin_client: Client, urls: SessionURLs) -> None:
    html = get_html(admin_client.get(urls.get_step_url(RUN, 5)))
    assert "Step 5" in html.partition("<body")[2].partition("weave-page")[0] or (
        settings.THEME == "unfold" and "<title>" in html
    )


def test_forms_and_actions(admin_client: Client, urls: SessionURLs) -> None:
    fork = urls.get_url("fork", RUN)
    assert "already exists" in get_html(admin_client.post(fork, {"target": RUN, "at_step": "3"}))
    done = admin_client.post(fork, {"target": "fork", "at_step": "3"}, follow=True)
    assert "Forked from" in get_html(done)
    assert "superuser" in get_html(admin_client.get(urls.get_url("history", "fork")))

    policy = {"keep_last": "2", "stage": "preview"}
    assert "Most affected" in get_html(admin_client.post(urls.get_url("prune"), policy))
    policy["stage"] = "run"
    assert "Pruned" in get_html(admin_client.post(urls.get_url("prune"), policy, follow=True))

    selected = {"action": "delete_selected", "_selected_action": ["fork", f"a{BIDI}b"]}
    assert "Are you sure" in get_html(admin_client.post(urls.get_changelist_url(), selected))
    confirmed = selected | {"post": "yes"}
    done = admin_client.post(urls.get_changelist_url(), confirmed, follow=True)
    assert "Successfully deleted 2 sessions." in get_html(done)

    done = admin_client.post(urls.get_url("delete", RUN), {"post": "yes"}, follow=True)
    assert "was deleted successfully" in get_html(done)
    assert done.redirect_chain == [(urls.get_changelist_url(), 302)]
    assert set(Session.objects.values_list("pk", flat=True)) == {"other", "empty"}
