"""Check that a state in another form reads back as what was stored."""

from __future__ import annotations

from typing import NamedTuple

from weavegraph_checkpoints.backends.chains import Base
from weavegraph_checkpoints.domain import VersionedState
from weavegraph_checkpoints.domain.diff import is_same_json
from weavegraph_checkpoints.exceptions import SerializationError
from weavegraph_checkpoints.serde import dumps_state, loads_json, loads_state


class WholeStep(NamedTuple):
    """A step whose state is stored whole, and is exactly what ``dumps_state`` writes."""

    step: int
    state: VersionedState
    document: bytes
    """The JSON that ``dumps_state`` writes."""
    stored_bytes: int
    """The size of the stored JSON, which may have whitespace or another order of keys."""


def read_whole(step: int, stored: bytes | str, stored_bytes: int) -> WholeStep:
    """Decode a whole state.

    Raise ``SerializationError`` if it cannot be decoded, or if it is another JSON value when it
    is encoded again, for example because it has keys that a state does not have.
    """
    state = loads_state(stored)
    document = dumps_state(state)
    data = stored if isinstance(stored, bytes) else stored.encode()
    if data != document and not is_same_json(loads_json(stored), loads_json(document)):
        raise SerializationError("the state has other keys or values than it reads back", "$.state")
    return WholeStep(step, state, document, stored_bytes)


def reads_back(base: Base, delta: bytes, document: bytes) -> bool:
    """Return whether a delta on a base gives the JSON of a state."""
    return dumps_state(base.folded.to_state(delta)) == document


def restore(base: Base, delta: bytes | str) -> bytes:
    """Return the whole state of a delta on a base as JSON that reads back as the same."""
    document = dumps_state(base.folded.to_state(delta))
    if dumps_state(loads_state(document)) != document:
        raise SerializationError("the state would not read back", "$.state")
    return document
