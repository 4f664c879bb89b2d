from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client

from tests.admin.conftest import ROLES, ClientOf
from tests.admin.example_runs import BASE, body, get_page_urls, session_urls
from tests.builders import everything_stored

pytestmark = pytest.mark.django_db

VIEWERS = {"viewer", "forker", "deleter", "superuser"}
FORKERS = {"forker", "superuser"}
DELETERS = {"deleter", "superuser"}

MAY_GET = {
    "list": VIEWERS,
    "session": VIEWERS,
    "session, one node": VIEWERS,
    "step": VIEWERS,
    "value": VIEWERS,
    "compare": VIEWERS,
    "raw": VIEWERS,
    "download": VIEWERS,
    "log": VIEWERS,
    "fork": FORKERS,
    "delete": DELETERS,
    "prune": DELETERS,
}

POSTS = {
    "fork": (FORKERS, {"target": "fork", "at_step": "3"}),
    "delete": (DELETERS, {"post": "yes"}),
    "prune": (DELETERS, {"keep_last": "1", "stage": "run"}),
    "list": (
        DELETERS,
        {"action": "delete_selected", "_selected_action": "run/1", "post": "yes", "index": "0"},
    ),
}


def outcome(role: str, response: object) -> str:
    status = response.status_code  # type: ignore[attr-defined]
    if status == 302 and "/login/" in response["Location"]:  # type: ignore[index]
        return "login"
    return {200: "ok", 302: "ok", 403: "forbidden"}.get(status, str(status))


def expected(role: str, allowed: set[str]) -> str:
    if role in ("anonymous", "member"):
        return "login"
    return "ok" if role in allowed else "forbidden"


@pytest.mark.parametrize("role", ROLES)
def test_who_may_see_each_page(role: str, client_of: ClientOf, run: str) -> None:
    client = client_of(role)
    pages = get_page_urls(run, 3)
    assert pages.keys() == MAY_GET.keys()
    assert {name: outcome(role, client.get(url)) for name, url in pages.items()} == {
        name: expected(role, MAY_GET[name]) for name in pages
    }


@pytest.mark.parametrize("action", POSTS)
@pytest.mark.parametrize("role", ROLES)
def test_who_may_do_each_action(role: str, action: str, client_of: ClientOf, run: str) -> None:
    allowed, data = POSTS[action]
    before = everything_stored()
    response = client_of(role).post(get_page_urls(run, 3)[action], data)
    changed = everything_stored() != before
    assert changed == (role in allowed)
    if action != "list":
        assert outcome(role, response) == expected(role, allowed)


@pytest.mark.parametrize("action", POSTS)
def test_an_action_without_a_token_is_refused(action: str, client_of: ClientOf, run: str) -> None:
    client = client_of("superuser")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    before = everything_stored()
    assert strict.post(get_page_urls(run, 3)[action], POSTS[action][1]).status_code == 403
    assert everything_stored() == before


@pytest.mark.parametrize("action", ["fork", "delete", "prune"])
def test_to_look_at_an_action_changes_nothing(action: str, root: Client, run: str) -> None:
    before = everything_stored()
    url = get_page_urls(run, 3)[action]
    assert root.get(url, POSTS[action][1]).status_code == 200
    assert root.put(url).status_code in (200, 405)
    assert root.delete(url).status_code in (200, 405)
    assert everything_stored() == before


@pytest.mark.parametrize("page", ["step", "value", "raw", "compare", "download"])
def test_pages_that_only_show_take_no_post(page: str, root: Client, run: str) -> None:
    assert root.post(get_page_urls(run, 3)[page]).status_code == 405
    assert root.head(get_page_urls(run, 3)[page]).status_code == 200


@pytest.mark.parametrize("role", sorted(VIEWERS))
def test_every_link_works_for_whom_it_is_shown(role: str, client_of: ClientOf, run: str) -> None:
    client = client_of(role)
    seen: dict[str, int] = {}
    for name in ("list", "session", "step", "value", "compare"):
        url = get_page_urls(run, 3)[name]
        for link in re.findall(r'<a [^>]*href="([^"#]+)"', body(client.get(url))):
            target = unescape(link)
            target = target if target.startswith("/") else f"{url.partition('?')[0]}{target}"
            if target.startswith(BASE) and target not in seen:
                response = client.get(target)
                body(response)
                seen[target] = response.status_code
    assert set(seen.values()) <= {200, 302}
    assert (session_urls.get_url("fork", run) in seen) == (role in FORKERS)
    assert (session_urls.get_url("delete", run) in seen) == (role in DELETERS)
    assert (session_urls.get_url("prune") in seen) == (role in DELETERS)
    assert session_urls.get_url("download", run) in seen


def test_sessions_cannot_be_added_or_changed(root: Client, run: str) -> None:
    before = everything_stored()
    assert root.get(f"{BASE}add/").status_code == 403
    assert root.post(f"{BASE}add/", {"id": "new"}).status_code == 403
    root.post(session_urls.get_session_url(run), {"owner": "me", "_save": "Save"})
    assert everything_stored() == before
