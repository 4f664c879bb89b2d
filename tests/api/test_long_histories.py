"""Calls on states that are stored as changes: whole, and named where they are damaged."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.api.clients import SESSIONS
from tests.api.json_patch import apply_patch
from tests.long_histories import BAD_STEP, DAMAGES, Damage, save_long_history
from weavegraph_checkpoints import SerializationError, serde
from weavegraph_checkpoints.backends.chains import memory

pytestmark = pytest.mark.usefixtures("changes")

PATHS = ["latest/", f"steps/{BAD_STEP}/", "steps/?limit=1", f"diff/?from=1&to={BAD_STEP}"]


def test_every_call_returns_whole_states(api: Client) -> None:
    history = save_long_history("a", range(1, BAD_STEP + 1))
    old, new = (
        serde.loads_json(serde.dumps_state(each.state)) for each in history[:: BAD_STEP - 1]
    )

    def get(path: str) -> Any:
        memory.clear()
        return serde.loads_json(api.get(f"{SESSIONS}a/{path}").content)

    latest, step, page, diff = map(get, PATHS)
    assert latest["state"] == step["state"] == page["checkpoints"][0]["state"] == new
    assert apply_patch(old, diff["patch"]) == new


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_errors_name_the_place(api: Client, damage: Damage) -> None:
    save_long_history("a", range(1, BAD_STEP + 1))
    damage.apply("a")
    for path in PATHS:
        assert api.get(f"{SESSIONS}a/{path}").status_code == 500
    api.raise_request_exception = True
    for path in PATHS:
        with pytest.raises(SerializationError) as caught:
            api.get(f"{SESSIONS}a/{path}")
        assert caught.value.message.startswith(f"session 'a', step {BAD_STEP}: ")
        assert caught.value.path.startswith(damage.path)
    assert api.get(f"{SESSIONS}a/").status_code == 200
    assert api.get(f"{SESSIONS}a/steps/1/").status_code == 200
