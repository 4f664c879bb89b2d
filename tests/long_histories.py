"""Sessions whose states are stored as changes, and what damages them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from tests import partitioning
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Checkpoint, ErrorEvent, Message, VersionedState, WeaveError
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Keyframe, Step

BAD_STEP = 20
"""The step that ``Damage.apply`` damages."""

STEPS = range(1, 25)


def grow(session_id: str, step: int, **fields: Any) -> Checkpoint:
    """Return a step of a conversation that grows."""
    messages = [Message.user(f"message {number} " + "ä" * 40) for number in range(step)]
    error = ErrorEvent(error=WeaveError(message="failed"), when="2026-01-02T03:04:05Z")
    state = VersionedState.new(messages, {"step": step, "é": "x" * 200}, [error] * (step // 10))
    return a_checkpoint(session_id, step, state=state, **fields)


def save_long_history(session_id: str, steps: Iterable[int] = STEPS) -> list[Checkpoint]:
    """Save a conversation that grows, and return it. Use the fixture ``changes``."""
    history = [grow(session_id, step) for step in steps]
    for checkpoint in history:
        DjangoCheckpointer().save(checkpoint)
    return history


def get_chain(session_id: str, step: int) -> list[Keyframe]:
    """Return the keyframes of a step, from its base to the root."""
    keyframe = Step.objects.get(session=session_id, step=step).base
    chain = []
    while keyframe is not None:
        chain.append(keyframe)
        keyframe = keyframe.previous
    return chain


def set_columns(model: Any, key: int, **columns: Any) -> None:
    """Write columns of a step or keyframe by SQL."""
    assignments = ", ".join(f"{column} = %s" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {model._meta.db_table} SET {assignments} WHERE id = %s",
            [*columns.values(), key],
        )
        assert cursor.rowcount == 1


def build_delta(items: Any, **extra: Any) -> str:
    """Return the JSON of a delta with these messages, members of ``extra``, and no errors."""
    document = {
        "messages": {"version": 1, "items": items},
        "extra": {"version": 1} | extra,
        "errors": {"version": 1, "items": [[0, 0]]},
    }
    return json.dumps(document, separators=(",", ":"))


def _set_base(session_id: str, base_id: int | None) -> None:
    step = Step.objects.get(session=session_id, step=BAD_STEP)
    set_columns(Step, step.pk, base_id=base_id)


def _set_state(session_id: str, state: str) -> None:
    step = Step.objects.get(session=session_id, step=BAD_STEP)
    set_columns(Step, step.pk, state=state)


def _take_foreign_keyframe(session_id: str) -> None:
    save_long_history("other")
    _set_base(session_id, get_chain("other", BAD_STEP)[0].pk)


def _break_chain(session_id: str) -> None:
    set_columns(Keyframe, get_chain(session_id, BAD_STEP)[0].pk, previous_id=None)


def _set_base_state(session_id: str, state: str) -> None:
    set_columns(Keyframe, get_chain(session_id, BAD_STEP)[0].pk, state=state)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Damage to a step of a long history."""

    name: str
    damage: Callable[[str], None]
    message: str
    path: str
    problem: str = "undecodable"
    """What a check finds; ``broken-chain`` also without ``--deep``."""

    def apply(self, session_id: str) -> None:
        """Damage ``BAD_STEP``, and perhaps others, of a session; processes have forgotten it."""
        self.damage(session_id)
        memory.clear()

    def __str__(self) -> str:
        return self.name


DAMAGES = [
    Damage(
        name="no base",
        damage=lambda key: _set_base(key, None),
        message="its keyframe is missing",
        path="$.state",
    ),
    Damage(
        name="base of another session",
        damage=_take_foreign_keyframe,
        message="its keyframe is missing",
        path="$.state",
        problem="broken-chain",
    ),
    Damage(
        name="broken chain",
        damage=_break_chain,
        message="the chain of keyframes is broken at",
        path="$.state",
        problem="broken-chain",
    ),
    Damage(
        name="keyframe beyond its base",
        damage=lambda key: _set_base_state(key, build_delta([[0, 99999]])),
        message="the delta does not fit its base",
        path="$.state.messages.items",
    ),
    Damage(
        name="keyframe of the wrong shape",
        damage=lambda key: _set_base_state(key, '{"messages":{"version":1,"items":[[0,1]]}}'),
        message="extra",
        path="$.state",
    ),
    Damage(
        name="delta beyond its base",
        damage=lambda key: _set_state(key, build_delta([[0, 99999]])),
        message="the delta does not fit its base",
        path="$.state.messages.items",
    ),
    Damage(
        name="splice beyond its base",
        damage=lambda key: _set_state(key, build_delta([[0, 1]], splice={"é": [500, 0, ""]})),
        message="the delta does not fit its base",
        path='$.state.extra.map["\\u00e9"]',
    ),
    Damage(
        name="item of the wrong shape",
        damage=lambda key: _set_state(key, build_delta([[0, 1], {"role": "user"}])),
        message="content",
        path="$.state.messages.items[1]",
    ),
    Damage(
        name="splice that is not JSON",
        damage=lambda key: _set_state(key, build_delta([[0, 1]], splice={"é": [3, 0, "x"]})),
        message="",
        path='$.state.extra.map["\\u00e9"]',
    ),
]
if partitioning.is_wanted():
    # Their foreign keys have the session too.
    DAMAGES = [damage for damage in DAMAGES if damage.damage is not _take_foreign_keyframe]
