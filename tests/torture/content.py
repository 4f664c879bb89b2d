"""Checkpoints whose content is generated from a token, so that any stored one can be verified."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from weavegraph_checkpoints import Checkpoint, Message, NodeKind, VersionedState

SIZES, WEIGHTS = (300, 3_000, 60_000), (90, 9, 1)
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
LONG = {"chain", "free", "own", "pruned"}
"""The first parts of the ids of sessions whose states grow with each step."""
MAX_MESSAGES = 400
"""Longer conversations lose their oldest messages."""

_conversations: dict[str, list[Message]] = defaultdict(list)


def get_conversation(session_id: str, step: int) -> list[Message]:
    """Return the messages of the steps before a step; each step adds one."""
    if session_id.partition("/")[0] not in LONG:
        return []
    messages = _conversations[session_id]
    for number in range(len(messages), step):
        text = f"{number} {random.Random(f'{session_id} {number}').random()} "
        messages.append(Message.assistant(f"{session_id} {text * 12}"))
    return messages[max(0, step - MAX_MESSAGES) : step]


def build_checkpoint(
    session_id: str, step: int, token: str, *, source: str | None = None
) -> Checkpoint:
    """Return the checkpoint of this session and step whose content the token determines.

    ``source`` is the session that a fork was copied from.
    """
    conversation = get_conversation(source or session_id, step)
    chance = random.Random(token)
    size = chance.choices(SIZES, WEIGHTS)[0]
    text = f"{token} {chance.random()} " * (size // 30)
    return Checkpoint(
        session_id=session_id,
        step=step,
        state=VersionedState.new(
            messages=[*conversation, Message.user(token), Message.assistant(text)],
            extra={"token": token, "exact": [1e23, -0.0, "\0", 2**64 - 1]},
        ),
        frontier=[chance.choice([NodeKind.END, NodeKind.custom(token)])],
        versions_seen={token: {"messages": chance.randrange(2**64)}},
        created_at=BEGINNING + timedelta(microseconds=chance.randrange(10**12)),
        ran_nodes=[token],
        updated_channels=["messages", token],
    )


def get_token(checkpoint: Checkpoint) -> str:
    """Return the token of a stored checkpoint."""
    token = checkpoint.state.extra.map["token"]
    assert isinstance(token, str)
    return token
