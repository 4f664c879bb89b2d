"""Text from a checkpoint is always shown as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.utils.html import escape

from tests.admin.example_runs import BASE, body, session_urls
from tests.admin.hostile import (
    SCRIPT,
    SESSION_ID,
    TEXTS,
    a_hostile_run,
    get_hostile_page_urls,
    make_harmless,
)
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin.views import prune
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = pytest.mark.django_db

Structure = list[tuple[str, tuple[str, ...]]]


class Outline(HTMLParser):
    """Collect the elements of a page with the names of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: Structure = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(sorted(name for name, _value in attrs))))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", ()))

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", (data,)))


def outline(html: str) -> Structure:
    parser = Outline()
    parser.feed(html)
    parser.close()
    return parser.elements


def save(session_id: str, change: object = None) -> str:
    run = a_hostile_run(session_id) if change is None else a_hostile_run(session_id, make_harmless)
    for checkpoint in run:
        DjangoCheckpointer().save(checkpoint)
    return session_id


def test_hostile_text_adds_no_elements(admin_client: Client) -> None:
    hostile = [
        outline(body(admin_client.get(url))) for url in get_hostile_page_urls(save(SESSION_ID))
    ]
    DjangoCheckpointer().delete_session(SESSION_ID)
    twin = save(make_harmless(SESSION_ID), make_harmless)
    pages = get_hostile_page_urls(twin)
    node = make_harmless(SCRIPT)
    pages[2] = session_urls.get_session_url(twin, node=node)
    for url, elements in zip(pages, hostile, strict=True):
        assert outline(body(admin_client.get(url))) == elements, url


def test_harmless_texts_are_distinct() -> None:
    assert len({make_harmless(text) for text in TEXTS}) == len(TEXTS)


def test_hostile_text_is_escaped_everywhere(admin_client: Client) -> None:
    save(SESSION_ID)
    for url in get_hostile_page_urls(SESSION_ID):
        response = admin_client.get(url)
        assert response.status_code == 200, url
        html = body(response)
        for text in TEXTS:
            assert text == escape(text) or text not in html, url
        assert "\0" not in html, url
    html = body(admin_client.get(session_urls.get_step_url(SESSION_ID, 1)))
    assert "&lt;script&gt;alert(&#x27;script&#x27;)&lt;/script&gt;" in html
    assert "{{ request.user.password }}" in html
    assert r"a\u0000b" in html


def test_names_do_not_change_the_direction_of_the_text_around_them(admin_client: Client) -> None:
    save(SESSION_ID)
    for url in (*get_hostile_page_urls(SESSION_ID), session_urls.get_url("delete", SESSION_ID)):
        names = re.findall(r"<bdi[^>]*>([^<]*)</bdi>", body(admin_client.get(url)))
        assert names, url
        for name in names:
            opened = sum(name.count(mark) for mark in "\u2066\u2067\u2068")
            assert opened == name.count("\u2069"), url
    question = body(admin_client.get(session_urls.get_url("delete", SESSION_ID)))
    assert "\u2068&lt;script" in question
    assert "\u2067" not in question


def test_downloads_have_safe_file_names(admin_client: Client) -> None:
    save(SESSION_ID)
    response = admin_client.get(session_urls.get_url("raw", SESSION_ID, 1))
    assert response["Content-Disposition"].startswith('attachment; filename="script-alert')
    assert response["Content-Type"] == "application/json"
    assert response["X-Content-Type-Options"] == "nosniff"
    checkpoint = DjangoCheckpointer().load(SESSION_ID, 1)
    assert checkpoint is not None
    assert response.content == serde.dumps(checkpoint)


@pytest.mark.parametrize(
    "session_id",
    [".", "..", "a/b", "a//b/", "_2E", "%2e%2e", "a b", " ", "a\nb", "a\r\x85\u2028b", "?#&=+;",
     "add", "prune", "steps", "日本", "😀" * 255, "\\", '"', "x/steps/1", "a_b:c"],
)  # fmt: skip
def test_every_session_id_has_pages(admin_client: Client, session_id: str) -> None:
    checkpointer = DjangoCheckpointer()
    for checkpoint in a_hostile_run(session_id, make_harmless)[:2]:
        checkpointer.save(checkpoint)
    for url in (
        session_urls.get_session_url(session_id),
        session_urls.get_step_url(session_id, 1),
        session_urls.get_compare_url(session_id, 1, 2),
        session_urls.get_url("fork", session_id),
        session_urls.get_url("delete", session_id),
        session_urls.get_url("raw", session_id, 2),
        session_urls.get_url("history", session_id),
    ):
        assert "/./" not in url
        assert "/../" not in url
        response = admin_client.get(url)
        assert response.status_code == 200, url
    listed = body(admin_client.get(session_urls.get_changelist_url()))
    assert f'href="{session_urls.get_session_url(session_id)}"'.replace("&", "&amp;") in listed


def test_messages_and_logs_do_not_change_the_direction_of_the_text_around_them(
    admin_client: Client,
) -> None:
    """An id is escaped on the log, in messages, and on Django's own pages."""
    session_id = save("gpj.\u202eexe\u2066")
    escaped = r"gpj.\u202eexe\u2066"
    fork = session_urls.get_url("fork", session_id)
    pages = [admin_client.post(fork, {"target": "copy", "at_step": "1"}, follow=True)]
    pages += [admin_client.get(session_urls.get_url("history", "copy"))]
    pages += [admin_client.get(session_urls.get_url("history", session_id))]
    many = {"action": "delete_selected", "_selected_action": [session_id, "copy"]}
    pages += [admin_client.post(session_urls.get_changelist_url(), many)]
    delete = session_urls.get_url("delete", session_id)
    pages += [admin_client.post(delete, {"post": "yes"}, follow=True)]
    pages += [admin_client.get("/admin/")]
    for page in pages:
        assert page.status_code == 200
        html = body(page)
        assert escaped in html
        assert not re.search("[\u202d\u202e]", re.sub("<input[^>]*>", "", html))
    assert "was deleted" in body(pages[4])


def test_the_command_and_the_log_of_a_prune_are_escaped(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("gpj.\u202eexe")
    form = {"keep_last": "1", "session": "gpj.\u202eexe"}
    url = f"{BASE}prune/"
    with monkeypatch.context() as patch:
        patch.setattr(prune, "MAX_SECONDS_PER_REQUEST", 0)
        preview = body(admin_client.post(url, form | {"stage": "preview"}))
    assert escape(r"--session=$'gpj.\U0000202eexe'") in preview
    done = body(admin_client.post(url, form | {"stage": "run"}, follow=True))
    history = body(admin_client.get(session_urls.get_url("history", "gpj.\u202eexe")))
    index = body(admin_client.get("/admin/"))
    for html in (preview, done, history, index):
        assert "\u202e" not in re.sub("<input[^>]*>", "", html)
    assert r"(keep_last: 1, session: gpj.\u202eexe)." in history
