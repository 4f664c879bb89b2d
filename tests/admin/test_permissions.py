from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client

from tests.admin.conftest import ROLES, MakeClient
from tests.admin.example_runs import BASE, body, get_page_urls, session_urls
from tests.builders import everything_stored

pytestmark = pytest.mark.django_db

VIEWERS = {"viewer", "forker", "labeller", "deleter", "superuser"}
FORKERS = {"forker", "superuser"}
LABELLERS = {"labeller", "superuser"}
DELETERS = {"deleter", "superuser"}

ALLOWED_ROLES = {
    "list": VIEWERS,
    "session": VIEWERS,
    "session, one node": VIEWERS,
    "follow": VIEWERS,
    "step": VIEWERS,
    "value": VIEWERS,
    "compare": VIEWERS,
    "raw": VIEWERS,
    "download": VIEWERS,
    "log": VIEWERS,
    "fork": FORKERS,
    "labels": LABELLERS,
    "delete": DELETERS,
    "prune": DELETERS,
}

POSTS = {
    "fork": (FORKERS, {"target": "fork", "at_step": "3"}),
    "labels": (LABELLERS, {"labels": "env=test"}),
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
def test_permissions_of_each_page(role: str, make_client: MakeClient, run: str) -> None:
    client = make_client(role)
    pages = get_page_urls(run, 3)
    assert pages.keys() == ALLOWED_ROLES.keys()
    assert {name: outcome(role, client.get(url)) for name, url in pages.items()} == {
        name: expected(role, ALLOWED_ROLES[name]) for name in pages
    }


@pytest.mark.parametrize("action", POSTS)
@pytest.mark.parametrize("role", ROLES)
def test_permissions_of_each_action(
    role: str, action: str, make_client: MakeClient, run: str
) -> None:
    allowed, data = POSTS[action]
    before = everything_stored()
    response = make_client(role).post(get_page_urls(run, 3)[action], data)
    changed = everything_stored() != before
    assert changed == (role in allowed)
    if action != "list":
        assert outcome(role, response) == expected(role, allowed)


@pytest.mark.parametrize("action", POSTS)
def test_actions_require_a_csrf_token(action: str, make_client: MakeClient, run: str) -> None:
    client = make_client("superuser")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    before = everything_stored()
    assert strict.post(get_page_urls(run, 3)[action], POSTS[action][1]).status_code == 403
    assert everything_stored() == before


@pytest.mark.parametrize("action", ["fork", "labels", "delete", "prune"])
def test_get_requests_change_nothing(action: str, admin_client: Client, run: str) -> None:
    before = everything_stored()
    url = get_page_urls(run, 3)[action]
    assert admin_client.get(url, POSTS[action][1]).status_code == 200
    assert admin_client.put(url).status_code in (200, 405)
    assert admin_client.delete(url).status_code in (200, 405)
    assert everything_stored() == before


@pytest.mark.parametrize("page", ["session", "step", "value", "raw", "compare", "download"])
def test_read_only_pages_refuse_post(page: str, admin_client: Client, run: str) -> None:
    assert admin_client.post(get_page_urls(run, 3)[page]).status_code == 405
    assert admin_client.head(get_page_urls(run, 3)[page]).status_code == 200


@pytest.mark.parametrize("role", sorted(VIEWERS))
def test_links_appear_only_with_permission_to_follow_them(
    role: str, make_client: MakeClient, run: str
) -> None:
    client = make_client(role)
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
    assert (session_urls.get_url("labels", run) in seen) == (role in LABELLERS)
    assert (session_urls.get_url("delete", run) in seen) == (role in DELETERS)
    assert (session_urls.get_url("prune") in seen) == (role in DELETERS)
    assert session_urls.get_url("download", run) in seen


def test_sessions_cannot_be_added_or_changed(admin_client: Client, run: str) -> None:
    before = everything_stored()
    assert admin_client.get(f"{BASE}add/").status_code == 403
    assert admin_client.post(f"{BASE}add/", {"id": "new"}).status_code == 403
    admin_client.post(session_urls.get_session_url(run), {"owner": "me", "_save": "Save"})
    assert everything_stored() == before
