"""Pages of states that are stored as changes: whole, and readable errors where they are damaged."""

from __future__ import annotations

import json
from html import escape

import pytest
from django.test import Client

from tests.admin.example_runs import body, get_page_urls, session_urls
from tests.long_histories import BAD_STEP, DAMAGES, Damage, get_chain, save_long_history
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.admin import queries
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.models import Keyframe, Step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("changes")]


def test_pages_show_whole_states_and_no_keyframes(admin_client: Client) -> None:
    history = save_long_history("a")
    assert Keyframe.objects.exists()
    urls = get_page_urls("a", BAD_STEP)
    for name, url in urls.items():
        memory.clear()
        html = body(admin_client.get(url))
        assert "keyframe" not in html.lower(), name
        assert not any(str(link.pk) in html for link in get_chain("a", BAD_STEP)), name
    html = body(admin_client.get(urls["step"]))
    assert all(f"message {number} " in html for number in range(BAD_STEP))
    lines = body(admin_client.get(urls["download"])).splitlines()
    assert lines == [serde.dumps(checkpoint).decode() for checkpoint in history]
    raw = body(admin_client.get(urls["raw"]))
    assert raw == serde.dumps(history[BAD_STEP - 1]).decode()


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_damaged_states_are_named(admin_client: Client, damage: Damage) -> None:
    history = save_long_history("a")
    damage.apply("a")
    urls = get_page_urls("a", BAD_STEP) | {
        "compare": session_urls.get_compare_url("a", 1, BAD_STEP)
    }
    for name in ("list", "session", "session, one node", "log", "fork", "delete", "prune"):
        assert admin_client.get(urls[name]).status_code == 200, name
    for name in ("step", "compare"):
        response = admin_client.get(urls[name])
        assert response.status_code == 200, name
        for part in (f"session 'a', step {BAD_STEP}: ", damage.message, damage.path):
            assert escape(part) in body(response), (name, part)
    for name in ("value", "raw"):
        assert admin_client.get(urls[name]).status_code == 404, name
    lines = body(admin_client.get(urls["download"])).splitlines()
    assert len(lines) == len(history)
    broken = json.loads(lines[BAD_STEP - 1])
    assert (broken["session_id"], broken["step"]) == ("a", BAD_STEP)
    assert damage.path in broken["broken"]


def test_the_estimate_of_a_large_state_includes_its_keyframes(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_long_history("a")
    monkeypatch.setattr(queries, "SMALL_STATE_BYTES", 0)
    step = Step.objects.get(session="a", step=BAD_STEP)
    documents = [step.state, *(keyframe.state for keyframe in get_chain("a", BAD_STEP))]
    size = 0
    for text in map(serde.dumps_json, documents):
        size += sum(text.count(char) * weight for char, weight in queries.BYTES_PER_CHAR.items())
        size += 0 if text.isascii() else text.count(",") * queries.BYTES_PER_TEXT
    url = session_urls.get_step_url("a", BAD_STEP)
    for limit, shows in ((size, True), (size - 1, False)):
        monkeypatch.setattr(queries, "MAX_DECODED_BYTES", limit)
        assert ("message 3 " in body(admin_client.get(url))) == shows
