"""The browsable API: pages, prefilled forms and escaping."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.test import Client

from tests.api.clients import SESSIONS, create_client, post, put, segment, session_url, step_url
from tests.builders import everything_stored
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints import Message, VersionedState, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;"


def get_html(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("text/html")
    return answer.content.decode()


def get_form_content(page: str) -> Any:
    """Return the JSON that prefills the form of a page."""
    (content,) = re.findall(r'<textarea name="_content"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    return json.loads(html.unescape(content))


@pytest.mark.parametrize("path", ["", "a/", "a/latest/", "a/steps/", "a/steps/1/"])
def test_every_page_shows_the_json(
    api: Client, checkpointer: DjangoCheckpointer, path: str
) -> None:
    checkpointer.save(a_full_checkpoint(session_id="a"))
    page = get_html(api, SESSIONS + path)
    *_, shown = re.findall(r'<pre class="prettyprint">(.*?)</pre>', page, re.DOTALL)
    text = html.unescape(re.sub(r"</?(a|span|b)\b[^>]*>", "", shown))
    expected = api.get(SESSIONS + path).json()
    assert json.loads(text[text.index("{") :]) == expected
    assert "Checkpoint" in page or "Session" in page


def test_diff_as_html(api: Client, checkpointer: DjangoCheckpointer) -> None:
    for step in (1, 2):
        checkpointer.save(a_checkpoint("a", step))
    assert "&quot;patch&quot;" in get_html(api, session_url("a", "diff/?from=1&to=2"))


def test_text_is_escaped(api: Client, checkpointer: DjangoCheckpointer) -> None:
    state = VersionedState.new(
        messages=[Message(role=SCRIPT, content=f"{SCRIPT} javascript:alert(1) \0\u2028")],
        extra={SCRIPT: [SCRIPT]},
    )
    checkpointer.save(a_checkpoint(SCRIPT, 1, state=state, frontier=[SCRIPT]))
    own = segment(SCRIPT)
    for path in ("", f"{own}/", f"{own}/latest/", f"{own}/steps/", f"{own}/steps/1/"):
        page = get_html(api, SESSIONS + path)
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert 'href="javascript:alert' not in page
    for query in (f"?search={SCRIPT}", f"?status={SCRIPT}"):
        page = api.get(SESSIONS + query, headers=HTML).content.decode()
        assert "<script>alert" not in page


def test_save_form_is_prefilled_with_the_stored_step(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    saved = a_full_checkpoint(session_id="a")
    checkpointer.save(saved)
    filled = get_form_content(get_html(api, step_url("a", 1)))
    assert serde.loads(json.dumps(filled)) == saved
    assert put(api, step_url("a", 1), filled).status_code == 200


def test_save_form_of_a_new_step_is_prefilled_with_an_example(api: Client, db: Any) -> None:
    filled = get_form_content(get_html(api, step_url("a", 1), 404))
    assert put(api, step_url("a", 1), filled).status_code == 201


def test_fork_form(api: Client, checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    filled = get_form_content(get_html(api, session_url("a", "fork/"), 405))
    assert filled == {"target": "", "at_step": None}
    assert post(api, session_url("a", "fork/"), {**filled, "target": "b"}).status_code == 201


def test_label_form(api: Client, checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    filled = get_form_content(get_html(api, session_url("a")))
    assert filled["labels"]
    body = json.dumps(filled).encode()
    answer = api.patch(session_url("a"), body, content_type="application/json")
    assert answer.status_code == 200


def test_errors_as_html(api: Client, checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    before = everything_stored()
    for path, status in (
        ("missing/", 404),
        ("missing/latest/", 404),
        ("?limit=x", 400),
        ("a/steps/?fields=x", 400),
        ("a/steps/x/", 404),
        ("~/steps/1/", 404),
        ("a/b/c/", 404),
    ):
        assert "&quot;code&quot;" in get_html(api, SESSIONS + path, status)
    answer = api.put(step_url("a", 1), b"{", content_type="application/json", headers=HTML)
    assert answer.status_code == 400
    assert everything_stored() == before


@pytest.mark.parametrize("path", ["", "a/", "a/latest/", "a/steps/", "a/steps/1/"])
def test_no_form_without_the_permission(checkpointer: DjangoCheckpointer, path: str) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    page = get_html(create_client("view_session"), SESSIONS + path)
    assert '<textarea name="_content"' not in page
    assert 'data-method="DELETE"' not in page
    assert "&quot;not_authenticated&quot;" in get_html(Client(), SESSIONS + path, 403)


@pytest.mark.parametrize("may", ["add_step", "change_step"])
def test_save_form_hides_the_stored_step_without_the_view_permission(
    checkpointer: DjangoCheckpointer, may: str
) -> None:
    state = VersionedState.new_with_user_message("a secret")
    checkpointer.save(a_checkpoint("a", 1, state=state))
    client, path = create_client(may), step_url("a", 1)
    assert "a secret" not in get_html(client, path, 403)
    page = put(client, path, b"{}", headers=HTML).content.decode()
    assert get_form_content(page)["frontier"] == ["Custom:search"]
    assert "a secret" not in page


def test_no_browsable_api_unless_the_project_enables_it(
    api: Client, checkpointer: DjangoCheckpointer, monkeypatch: Any
) -> None:
    from rest_framework.renderers import JSONRenderer
    from rest_framework.settings import api_settings

    monkeypatch.setattr(api_settings, "DEFAULT_RENDERER_CLASSES", [JSONRenderer])
    answer = api.get(SESSIONS, headers=HTML)
    assert answer["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", ["", "a/", "a/steps/", "a/steps/1/"])
def test_options_as_html(api: Client, checkpointer: DjangoCheckpointer, path: str) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    answer = api.options(SESSIONS + path, headers=HTML)
    assert (answer.status_code, answer["Content-Type"][:9]) == (200, "text/html")
