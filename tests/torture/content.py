"""Checkpoints whose content is generated from a token, so that any stored one can be verified."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from weavegraph_checkpoints import Checkpoint, Message, NodeKind, VersionedState

SIZES, WEIGHTS = (300, 3_000, 60_000), (90, 9, 1)
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def build_checkpoint(session_id: str, step: int, token: str) -> Checkpoint:
    """Return the checkpoint of this session and step whose content the token determines."""
    chance = random.Random(token)
    size = chance.choices(SIZES, WEIGHTS)[0]
    text = f"{token} {chance.random()} " * (size // 30)
    return Checkpoint(
        session_id=session_id,
        step=step,
        state=VersionedState.new(
            messages=[Message.user(token), Message.assistant(text)],
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
