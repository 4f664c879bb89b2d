"""The step page begins with what happened in the step."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils.html import escape

from tests.admin.example_runs import body, create_session_with_steps, session_urls
from tests.strategies import a_checkpoint, an_error_event
from weavegraph_checkpoints import Message, VersionedState, WeaveError
from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Step

pytestmark = pytest.mark.django_db

PROMPT = "\n".join(f"rule {number}" for number in range(1, 41))
CALL = '[{"call": "search", "arguments": {"day": "\\u65e5"}}]'


def save(step: int, *, session_id: str = "run", **state: Any) -> None:
    fields = {"state": VersionedState.new(**state), "ran_nodes": ["agent"]}
    DjangoCheckpointer().save(a_checkpoint(session_id, step, **fields))


def get_html(client: Client, step: int, **query: str) -> str:
    return body(client.get(session_urls.get_step_url("run", step), query))


def get_sections(html: str) -> dict[str, str]:
    """Return the HTML of each section by its title, and before them that of the summary."""
    names = ["summary", *re.findall(r'<h2 id="weave-[a-z-]+-title">([^<]+)</h2>', html)]
    return dict(zip(names, re.split(r"<section aria-labelledby", html), strict=True))


@pytest.fixture
def three_steps(db: None) -> None:
    """A run with a long prompt, a tool call and an error."""
    first = [Message.system(PROMPT), Message.user("Hello")]
    save(1, messages=first, extra={"calls": 0, "gone": True})
    save(2, messages=[*first, Message.assistant(CALL)], extra={"calls": 1})
    error = an_error_event(error=WeaveError(message="no seats"))
    messages = [*first, Message.assistant(CALL), Message.tool("no seats")]
    save(3, messages=messages, extra={"calls": 1}, errors=[error])


@pytest.mark.usefixtures("three_steps")
def test_the_sections_are_in_the_order_of_interest(admin_client: Client) -> None:
    assert list(get_sections(get_html(admin_client, 3))) == [
        "summary", "Errors", "This step", "Conversation", "Extras", "Execution", "Raw JSON",
    ]  # fmt: skip


@pytest.mark.usefixtures("three_steps")
def test_the_summary_shows_nodes_and_differences(admin_client: Client) -> None:
    summary = get_sections(get_html(admin_client, 3))["summary"]
    text = " ".join(re.sub("<[^>]*>", " ", summary).split())
    assert "Ran agent Next" in text
    assert "Messages 4 +1" in text
    assert "Errors ! 1 +1" in text
    assert "Since the previous step" in text


@pytest.mark.usefixtures("three_steps")
def test_what_the_step_changed_comes_first(admin_client: Client) -> None:
    section = get_sections(get_html(admin_client, 2))["This step"]
    assert "1 new message<" in section
    assert "2 extras changed<" in section
    for path, before, after in (("calls", "0", "1"), ("gone", "true", None)):
        assert f'<bdi class="weave-key">{path}</bdi>' in section
        assert f'<del class="weave-value"><bdi>{before}</bdi></del>' in section
        assert not after or f'<ins class="weave-value"><bdi>{after}</bdi></ins>' in section
    assert escape(session_urls.get_compare_url("run", 1, 2)) in section
    assert "rule 1" not in section
    section = get_sections(get_html(admin_client, 3))["This step"]
    assert '<a href="#weave-errors-title">1 new error</a>' in section
    assert "Changed extras" not in section


@pytest.mark.usefixtures("three_steps")
def test_json_is_formatted_with_a_switch_to_the_exact_text(admin_client: Client) -> None:
    sections = get_sections(get_html(admin_client, 2))
    for name in ("This step", "Conversation"):
        assert sections[name].count("<summary>Exact text</summary>") == 1
        assert f'<pre class="weave-text" dir="auto">{escape(CALL)}</pre>' in sections[name]
        formatted = json.dumps(json.loads(CALL), indent=2, ensure_ascii=False)
        assert f'<pre class="weave-text" dir="ltr">{escape(formatted)}</pre>' in sections[name]


@pytest.mark.usefixtures("three_steps")
def test_earlier_and_long_messages_are_folded(admin_client: Client) -> None:
    conversation = get_sections(get_html(admin_client, 2))["Conversation"]
    folded, shown = re.split(r"</details>\s*<ol", conversation)
    assert "<summary>2 earlier messages</summary>" in folded
    assert "rule 12</pre>" in folded
    assert "28 more lines" in folded
    assert f"{len(PROMPT)}\xa0bytes in total" in folded
    assert "rule" not in shown
    first = get_sections(get_html(admin_client, 1))["This step"]
    assert "2 new messages" in first
    assert "rule 40</pre>" in first


def test_a_step_that_changes_nothing_says_so(admin_client: Client) -> None:
    for step in (1, 2):
        save(step, messages=[Message.user("same")], extra={"same": 1})
    assert "Nothing changed" in get_sections(get_html(admin_client, 2))["This step"]
    save(3, messages=[Message.user("same")], extra={"same": 1.0})
    assert "1 extra changed" in get_sections(get_html(admin_client, 3))["This step"]


def test_removed_and_replaced_messages_are_counted(admin_client: Client) -> None:
    save(1, messages=[Message.user(str(number)) for number in range(30)])
    save(2, messages=[Message.system("summary"), Message.user("29")])
    section = get_sections(get_html(admin_client, 2))["This step"]
    assert "1 message replaced<" in section
    assert "28 messages removed<" in section
    assert '<span class="weave-new-label">replaced</span>' in section


def test_more_than_twenty_changed_extras_are_linked(admin_client: Client) -> None:
    save(1)
    save(2, extra={f"key {number}": number for number in range(33)})
    section = get_sections(get_html(admin_client, 2))["This step"]
    url = escape(session_urls.get_compare_url("run", 1, 2))
    assert f'<a href="{url}">13 more</a>' in section


def test_what_changed_is_not_known_without_the_previous_step(admin_client: Client) -> None:
    """Of the oldest step that was not pruned, no message is new and none is folded."""
    save(7, messages=[Message.user("old")], errors=[an_error_event()])
    response = admin_client.get(session_urls.get_step_url("run", 7))
    sections = get_sections(body(response))
    assert "The previous step has been deleted" in sections["This step"]
    assert "old" in sections["Conversation"]
    assert "weave-new" not in body(response)
    assert '<details class="weave-earlier">' not in sections["Conversation"]


def test_what_changed_is_not_known_if_the_previous_step_cannot_be_read(
    admin_client: Client,
) -> None:
    for step in (1, 2):
        save(step, messages=[Message.user(f"message {step}")])
    Step.objects.filter(step=1).update(state={"messages": 7})
    sections = get_sections(get_html(admin_client, 2))
    assert "The previous step cannot be read" in sections["This step"]
    assert "message 2" in sections["Conversation"]


def test_two_states_that_are_too_complex_together_are_not_compared(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save(step, messages=[Message.user(f"message {step}")])
    monkeypatch.setattr(queries, "is_decodable", lambda *sides: len(sides) == 1)
    sections = get_sections(get_html(admin_client, 2))
    assert "too many values to compare" in sections["This step"]
    assert "message 2" in sections["Conversation"]


def test_counts_that_are_not_stored_are_those_of_the_state(admin_client: Client) -> None:
    create_session_with_steps("run", 2, message_count=None, error_count=None, state_bytes=None)
    summary = get_sections(get_html(admin_client, 2))["summary"]
    assert "<dt>Messages</dt><dd>1</dd>" in summary
    assert "<dt>Errors</dt><dd>0</dd>" in summary
    assert "bytes" in summary


def test_a_large_state_is_not_compared_unless_asked_for(admin_client: Client) -> None:
    for step in (1, 2):
        save(step, messages=[Message.user("x" * 1_100_000)] * step)
    assert "This step" not in get_html(admin_client, 2)
    assert "1 new message" in get_html(admin_client, 2, whole="yes")


def test_a_deleted_previous_step_is_not_an_error(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prune may delete it while the page is made."""
    for step in (1, 2):
        save(step)
    load = DjangoCheckpointer.load
    monkeypatch.setattr(
        DjangoCheckpointer,
        "load",
        lambda self, session_id, step: None if step == 1 else load(self, session_id, step),
    )
    assert "The previous step has been deleted" in get_html(admin_client, 2)


@pytest.mark.usefixtures("three_steps")
def test_a_sibling_session_is_never_read(admin_client: Client) -> None:
    save(2, session_id="run ", messages=[Message.user("secret")])
    with connection.execute_wrapper(_forbid_other_sessions):
        assert "secret" not in get_html(admin_client, 3)


def _forbid_other_sessions(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    assert "run " not in (params or ())
    return execute(sql, params, many, context)
