"""Which database each admin page reads, and what it shows while the replica lags."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from tests.builders import save_history
from tests.replica.calls import documented_aliases
from tests.replica.conftest import Asked, Paused
from tests.replica.documented import PRIMARY, REPLICA, ReadYourWritesMiddleware
from tests.servers import PostgresReplica
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = pytest.mark.vendor("postgresql")

SESSIONS = "/admin/weavegraph_checkpoints/session/"
PAGES = {
    "list of sessions": "?label=env%3Atest",
    "session": "run/change/",
    "follow": "run/follow/?known=",
    "step": "run/steps/2/",
    "value": "run/steps/2/value/?path=%24.state",
    "compare": "run/compare/?from=1&to=2",
    "raw": "run/steps/2/raw/",
    "download": "run/download/",
    "fork": "run/fork/",
    "labels": "run/labels/",
    "delete": "run/delete/",
    "prune": "prune/",
}


@pytest.fixture
def browser(superuser: Any, replica: PostgresReplica) -> Client:
    save_history(DjangoCheckpointer(), "run", range(1, 4))
    DjangoCheckpointer().set_labels("run", {"env": "test"})
    replica.catch_up()
    client = Client()
    client.force_login(superuser)
    return client


def get(client: Client, path: str) -> str:
    response: Any = client.get(SESSIONS + path)
    assert response.status_code == 200, path
    return response.getvalue().decode()  # type: ignore[no-any-return]


def lose_cookie(client: Client) -> None:
    del client.cookies[ReadYourWritesMiddleware.cookie]


def test_every_page_is_documented() -> None:
    pages = admin.site.get_model_admin(Session).page_views
    ours = set(pages) | {"list of sessions", "session", "delete"}
    assert set(PAGES) == set(documented_aliases("The admin")) == ours


@pytest.mark.parametrize("page", PAGES)
def test_each_page_reads_the_documented_database(browser: Client, asked: Asked, page: str) -> None:
    def preview() -> None:
        form = {"keep_last": "1", "stage": "preview"}
        assert browser.post(SESSIONS + PAGES[page], form).status_code == 200

    call = preview if page == "prune" else lambda: get(browser, PAGES[page])
    assert asked(call) == documented_aliases("The admin")[page]


def test_the_pages_show_one_moment_in_the_past(browser: Client, paused: Paused) -> None:
    with paused():
        save_history(DjangoCheckpointer(), "run", [4], ran_nodes=["fourth"])
        DjangoCheckpointer().save(a_checkpoint("new", 1))
        DjangoCheckpointer().set_labels("run", {"env": "live"})
        assert "new/change/" not in get(browser, "")
        page = get(browser, "run/change/")
        assert "run/steps/3/" in page
        assert "run/steps/4/" not in page
        assert "fourth" not in page
        assert "env=test" in page
        missing = browser.get(f"{SESSIONS}run/steps/4/")
        assert missing.status_code == 404
        assert get(browser, "run/download/").count("\n") == 3
    page = get(browser, "run/change/")
    assert "fourth" in page
    assert "env=live" in page


def test_follow_shows_a_step_when_the_replica_has_it(browser: Client, paused: Paused) -> None:
    known = browser.get(f"{SESSIONS}run/change/").context["version"]
    url = f"run/follow/?known={known}"
    with paused():
        save_history(DjangoCheckpointer(), "run", [4], ran_nodes=["fourth"])
        assert get(browser, url) == "export default null;\n"
    assert "fourth" in get(browser, url)


def test_follow_goes_back_when_the_cookie_ends(browser: Client, paused: Paused) -> None:
    with paused():
        form = {"labels": "env=live", "initial-labels": "env=test"}
        browser.post(f"{SESSIONS}run/labels/", form)
        save_history(DjangoCheckpointer(), "run", [4], ran_nodes=["fourth"])
        known = browser.get(f"{SESSIONS}run/change/").context["version"]
        assert "fourth" in get(browser, "run/change/")
        lose_cookie(browser)
        assert "fourth" not in get(browser, f"run/follow/?known={known}")
    assert get(browser, f"run/follow/?known={known}") == "export default null;\n"


def test_who_writes_reads_the_primary(browser: Client, paused: Paused, asked: Asked) -> None:
    with paused():
        forked = browser.post(f"{SESSIONS}run/fork/", {"target": "fork", "at_step": "2"})
        assert forked.status_code == 302
        assert asked(lambda: browser.get(forked.url)) == {PRIMARY}  # type: ignore[attr-defined]
        assert browser.get(forked.url).status_code == 200  # type: ignore[attr-defined]
        assert "fork/change/" in get(browser, "")
        form = {"labels": "env=live", "initial-labels": "env=test"}
        labelled = browser.post(f"{SESSIONS}run/labels/", form, follow=True)
        assert "env=live" in labelled.content.decode()
        deleted = browser.post(f"{SESSIONS}fork/delete/", {"post": "yes"}, follow=True)
        assert "fork/change/" not in deleted.content.decode()
        lose_cookie(browser)
        assert asked(lambda: get(browser, "")) == {REPLICA}
        assert "env=test" in get(browser, "run/change/")


def test_without_the_cookie_a_fork_is_not_there_yet(browser: Client, paused: Paused) -> None:
    with paused():
        forked = browser.post(f"{SESSIONS}run/fork/", {"target": "fork", "at_step": "2"})
        lose_cookie(browser)
        missing = browser.get(forked.url)  # type: ignore[attr-defined]
        assert missing.status_code == 404


def test_what_others_did_since_is_kept(browser: Client, paused: Paused) -> None:
    with paused():
        DjangoCheckpointer().set_labels("run", {"team": "blue"})
        shown = browser.get(f"{SESSIONS}run/labels/").context["form"]["labels"]
        assert shown.value() == "env=test"
        form = {"labels": "env=live", "initial-labels": "env=test"}
        assert browser.post(f"{SESSIONS}run/labels/", form).status_code == 302
    assert DjangoCheckpointer().get_labels("run") == {"env": "live", "team": "blue"}


def test_deleting_what_is_deleted_already(browser: Client, paused: Paused) -> None:
    with paused():
        assert DjangoCheckpointer().delete_session("run")
        assert "run/change/" in get(browser, "")
        get(browser, "run/delete/")
        assert browser.post(f"{SESSIONS}run/delete/", {"post": "yes"}).status_code == 404
        lose_cookie(browser)
        selected = {"action": "delete_selected", "_selected_action": "run", "post": "yes"}
        assert browser.post(SESSIONS, selected).status_code == 302
    assert "run/change/" not in get(browser, "")
    assert browser.get(reverse("admin:index")).status_code == 200
