from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.admin.example_runs import a_run, body, create_session_with_steps, session_urls
from tests.strategies import a_checkpoint, a_full_checkpoint, an_error_event
from weavegraph_checkpoints import Message, VersionedState, WeaveError, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Step

pytestmark = pytest.mark.django_db


def save_step(**fields: Any) -> str:
    DjangoCheckpointer().save(a_checkpoint("run", 1, **fields))
    return session_urls.get_step_url("run", 1)


def test_all_fields_of_a_step_are_shown(admin_client: Client) -> None:
    DjangoCheckpointer().save(a_full_checkpoint(session_id="full", step=1))
    html = body(admin_client.get(session_urls.get_step_url("full", 1)))
    for text in (
        "node Custom:fetch at step 3",
        "the scheduler at step 4",
        "the runner of session session at step 5",
        "the application",
        "connect timed out",
        "Caused by",
        "network",
        "gone ✓",
        "18446744073709551615",
        "Custom(&quot;plan&quot;)",
        "Start:er",
    ):
        assert text in html, text


def test_links_to_adjacent_steps_have_keyboard_shortcuts(admin_client: Client, run: str) -> None:
    html = body(admin_client.get(session_urls.get_step_url(run, 4)))
    for url, keys in (
        (session_urls.get_step_url(run, 3), "ArrowLeft j"),
        (session_urls.get_step_url(run, 5), "ArrowRight k"),
        (session_urls.get_compare_url(run, 3, 4).replace("&", "&amp;"), "c"),
        (session_urls.get_step_url(run, 4, go="error"), "e"),
    ):
        assert f'href="{url}" data-weave-keys="{keys}"' in html
    first, last = (body(admin_client.get(session_urls.get_step_url(run, step))) for step in (1, 6))
    assert "ArrowLeft" not in first
    assert "ArrowRight" not in last
    assert 'data-weave-keys="e"' not in last


@pytest.mark.parametrize(("step", "expected"), [(1, 3), (2, 3), (3, 5), (4, 5), (5, 5), (6, 6)])
def test_next_error(admin_client: Client, run: str, step: int, expected: int) -> None:
    response = admin_client.get(session_urls.get_step_url(run, step, go="error"))
    assert response["Location"] == session_urls.get_step_url(run, expected)


def test_next_error_in_a_long_history(admin_client: Client) -> None:
    create_session_with_steps("run", 900)
    Step.objects.filter(step__gte=333).update(error_count=1)
    Step.objects.filter(step__gte=777).update(error_count=2)
    for step, expected in ((1, 333), (332, 333), (333, 777), (500, 777), (776, 777), (800, 800)):
        response = admin_client.get(session_urls.get_step_url("run", step, go="error"))
        assert response["Location"] == session_urls.get_step_url("run", expected)


def test_new_errors_and_the_newest_are_expanded(admin_client: Client, run: str) -> None:
    context = admin_client.get(session_urls.get_step_url(run, 5)).context
    assert [(error["number"], error["is_new"]) for error in context["error_events"]] == [
        (2, True),
        (1, False),
    ]
    html = body(admin_client.get(session_urls.get_step_url(run, 5)))
    assert html.count("<details><summary><bdi>connect timed out</bdi></summary>") == 1
    html = body(admin_client.get(session_urls.get_step_url(run, 6)))
    assert html.count("<details><summary><bdi>connect timed out</bdi></summary>") == 1


def test_long_lists_of_errors_are_truncated(admin_client: Client) -> None:
    url = save_step(state=VersionedState.new(errors=[an_error_event()] * 70))
    context = admin_client.get(url).context
    assert (len(context["error_events"]), context["errors_hidden"]) == (50, 20)
    assert len(admin_client.get(f"{url}?errors=all").context["error_events"]) == 70


def test_long_chains_of_causes_are_truncated(admin_client: Client) -> None:
    error = WeaveError(message="root")
    for number in range(60):
        error = WeaveError(message=str(number), cause=error)
    url = save_step(state=VersionedState.new(errors=[an_error_event(error=error)]))
    assert "More causes are in the raw JSON." in body(admin_client.get(url))


def get_conversation(response: Any) -> list[Any]:
    return [item for group in response.context["conversation"].groups for item in group.messages]


def test_new_messages_are_marked(admin_client: Client, run: str) -> None:
    response = admin_client.get(session_urls.get_step_url(run, 4))
    assert [item.kind for item in get_conversation(response)] == ["", "", "", "added"]
    assert "<summary>3 earlier messages</summary>" in body(response)


def test_links_to_earlier_and_later_messages(admin_client: Client) -> None:
    messages = [Message.user(f"message-{number}-") for number in range(120)]
    url = save_step(state=VersionedState.new(messages=messages))
    response = admin_client.get(url)
    assert get_conversation(response)[0].text.beginning.text == "message-70-"
    link = '<a href="?messages={}#weave-conversation-title">{}</a>'
    assert link.format(70, "70 earlier messages") in body(response)
    response = admin_client.get(url, {"messages": "70"})
    assert get_conversation(response)[-1].text.beginning.text == "message-69-"
    assert link.format(120, "50 later messages") in body(response)
    assert '<details class="weave-earlier">' not in body(response)


def test_a_large_state_is_shown_only_on_request(admin_client: Client) -> None:
    errors = [an_error_event(error=WeaveError(message="out of memory"))]
    url = save_step(
        state=VersionedState.new([Message.user("secret " * 200_000)], {"k": 1}, errors=errors)
    )
    html = body(admin_client.get(url))
    assert "out of memory" in html
    assert "Show anyway" in html
    assert "secret" not in html
    html = body(admin_client.get(url, {"whole": "yes"}))
    assert html.count("secret") >= 200_000
    assert 'id="weave-raw"' not in html


def test_steps_without_counts_are_shown(admin_client: Client) -> None:
    create_session_with_steps("run", 3, message_count=None, error_count=None, state_bytes=None)
    assert "hi" in body(admin_client.get(session_urls.get_step_url("run", 2)))
    assert admin_client.get(session_urls.get_session_url("run")).status_code == 200
    assert "identical" in body(admin_client.get(session_urls.get_url("compare", "run")))


def test_the_raw_json_is_the_persisted_json(admin_client: Client, run: str) -> None:
    checkpoint = DjangoCheckpointer().load(run, 4)
    assert checkpoint is not None
    response = admin_client.get(session_urls.get_url("raw", run, 4))
    assert response.content == serde.dumps(checkpoint)
    assert response["Content-Disposition"] == 'attachment; filename="run-1-4.json"'


def test_a_download_contains_every_step_oldest_first(admin_client: Client, run: str) -> None:
    response = admin_client.get(session_urls.get_url("download", run))
    assert response["Content-Disposition"] == 'attachment; filename="run-1.jsonl"'
    assert response["X-Content-Type-Options"] == "nosniff"
    lines = body(response).splitlines()
    assert [serde.loads(line) for line in lines] == a_run(run)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("", '"messages"'),
        ("/extra/map/deep", "[3 items]"),
        ("/extra/map/deep/list/1", "1.0"),
        ("/messages/items/0/content", "message 0"),
        ("/errors/items/0/error/cause/details", "example.test"),
    ],
)
def test_a_value_of_the_state_has_a_page(
    admin_client: Client, run: str, at: str, expected: str
) -> None:
    response = admin_client.get(session_urls.get_url("value", run, 4, query={"at": at}))
    assert response.status_code == 200
    assert expected in body(response).replace("&quot;", '"')


def test_long_lists_have_pages_of_200_entries(admin_client: Client) -> None:
    save_step(
        state=VersionedState.new(extra={"list": [f"item-{number}-" for number in range(450)]})
    )
    url = session_urls.get_url("value", "run", 1, query={"at": "/extra/map/list", "offset": 200})
    html = body(admin_client.get(url))
    assert "item-200-" in html
    assert "item-199-" not in html
    assert "item-400-" not in html
    assert "offset=400" in html
    assert "Earlier entries" in html
