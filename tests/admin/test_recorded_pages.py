"""The pages of recorded runs of real agents answer what happened in each step.

The folder that ``WEAVEGRAPH_TEST_DATA`` names holds the runs; see ``test_recorded_runs``.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from tests.admin.example_runs import body, session_urls
from tests.service.test_recorded_runs import Replay, recorded_runs
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = pytest.mark.django_db

RUNS_TESTED = 40
"""Every fortieth run, and those of the coding agent."""


def save_runs() -> list[dict[str, Any]]:
    runs = [
        run
        for number, run in enumerate(recorded_runs())
        if number % RUNS_TESTED == 0 or run["id"].startswith("coding/")
    ]
    for run in runs:
        for checkpoint in Replay(run):
            DjangoCheckpointer().save(checkpoint)
    return runs


def get_text(html: str) -> str:
    """Return the text of HTML."""
    return unescape(re.sub("<[^>]*>", "", html))


def test_every_step_begins_with_its_messages_and_errors(admin_client: Client) -> None:
    for run in save_runs():
        for number, step in enumerate(run["steps"], 1):
            response = admin_client.get(session_urls.get_step_url(run["id"], number))
            head, changes = body(response).split('<section aria-labelledby="weave-changes-title">')
            changes, conversation = changes.split(
                '<section aria-labelledby="weave-conversation-title">'
            )
            shown = get_text(changes)
            assert f'<bdi class="weave-node">{step["node"]}</bdi>' in head
            for message in step["messages"]:
                for line in message["content"].splitlines():
                    assert line.strip() in shown, (run["id"], number)
            if step["error"] is not None:
                assert step["error"] in get_text(head)
                assert "1 new error" in shown
            earlier = sum(len(each["messages"]) for each in run["steps"][: number - 1])
            assert (f"<summary>{earlier} earlier message" in conversation) == (earlier > 0)
            assert response.context["changes"].kinds == {
                earlier + index: "added" for index in range(1, len(step["messages"]) + 1)
            }
