"""The limits of every column, and the worst checkpoints that they allow."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.strategies import a_checkpoint
from tests.worst_states import CONTAINERS, STATE_BYTES, WORST_STATES, longest_columns, worst_columns
from weavegraph_checkpoints import (
    Checkpoint,
    ErrorEvent,
    LimitExceeded,
    Message,
    NodeKind,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.domain import limits
from weavegraph_checkpoints.serde import dumps_state, loads_state, sizes

NAMES = [f"n{number}" for number in range(257)]
LONGEST = [f"{number:03}".ljust(255, "é") for number in range(32)]
EVENT_BYTES = len(
    msgspec.json.encode(
        {
            "when": "2026-01-02T03:04:05Z",
            "scope": {"scope": "app"},
            "error": {"message": "", "details": None},
            "tags": [],
            "context": None,
        }
    )
)


def error_of(size: int) -> ErrorEvent:
    """Return an error whose JSON has this many bytes."""
    message = "x" * (size - EVENT_BYTES)
    return ErrorEvent(error=WeaveError(message=message), when="2026-01-02T03:04:05Z")


def save(**fields: Any) -> StepRow:
    return StepRow.from_checkpoint(a_checkpoint(**fields), STATE_BYTES)


VALID: dict[str, dict[str, Any]] = {
    **{name: {name: NAMES[:256]} for name in ("frontier", "ran_nodes", "updated_channels")},
    "skipped_nodes": {"skipped_nodes": [NodeKind.START, *NAMES[:254], NodeKind.END]},
    "names of 255 characters": {"frontier": ["😀" * 255, "Custom:" + "x" * 255]},
    "names of 16 KiB": {"updated_channels": [*("x" * 252 for _ in range(64)), "y" * 60]},
    "1024 versions": {"versions_seen": {name: dict.fromkeys(NAMES[:3], 1) for name in NAMES[:256]}},
    "1024 nodes that saw nothing": {"versions_seen": {str(n): {} for n in range(1024)}},
    "an error of 256 KiB": {
        "state": VersionedState.new(errors=[error_of(1), error_of(256 * 1024)])
    },
    "large messages": {"state": VersionedState.new_with_user_message("x" * 300_000)},
}

INVALID: dict[str, tuple[dict[str, Any], str, str]] = {
    "frontier": ({"frontier": NAMES}, "$.frontier", "257 names, the limit is 256"),
    "ran_nodes": ({"ran_nodes": NAMES}, "$.ran_nodes", "257 names, the limit is 256"),
    "skipped_nodes": ({"skipped_nodes": NAMES}, "$.skipped_nodes", "257 names"),
    "updated_channels": ({"updated_channels": NAMES}, "$.updated_channels", "257 names"),
    "node name": ({"frontier": ["a", "x" * 256]}, "$.frontier[1]", "256 characters"),
    "channel name": ({"updated_channels": ["x" * 256]}, "$.updated_channels[0]", "256 char"),
    "bytes of nodes": ({"ran_nodes": LONGEST}, "$.ran_nodes", "bytes, the limit is 16384"),
    "bytes of channels": (
        {"updated_channels": [*("x" * 252 for _ in range(64)), "y" * 61]},
        "$.updated_channels",
        "16385 bytes, the limit is 16384",
    ),
    "versions": (
        {"versions_seen": {**{n: dict.fromkeys(NAMES[:3], 1) for n in NAMES[:256]}, "z": {}}},
        "$.versions_seen",
        "1025 nodes and versions, the limit is 1024",
    ),
    "a node of versions_seen": ({"versions_seen": {"x" * 256: {}}}, "$.versions_seen", "256 char"),
    "a channel of versions_seen": (
        {"versions_seen": {"a": {"x" * 256: 1}}},
        "$.versions_seen",
        "256 characters",
    ),
    "bytes of versions_seen": (
        {"versions_seen": {f"{n:03}".ljust(255, "é"): {} for n in range(200)}},
        "$.versions_seen",
        "bytes, the limit is 65536",
    ),
    "an error": (
        {"state": VersionedState.new(errors=[error_of(10_000), error_of(256 * 1024 + 1)])},
        "$.state.errors.items[1]",
        "262145 bytes, the limit is 262144",
    ),
}


@pytest.mark.parametrize("fields", VALID.values(), ids=VALID)
def test_a_checkpoint_within_the_limits_is_valid(fields: dict[str, Any]) -> None:
    save(**fields)


@pytest.mark.parametrize(("fields", "path", "message"), INVALID.values(), ids=INVALID)
def test_a_column_beyond_its_limit_is_refused_with_its_path(
    fields: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(LimitExceeded) as refused:
        save(**fields)
    assert refused.value.path == path
    assert message in refused.value.message


def test_stored_rows_are_never_refused() -> None:
    for fields, _path, _message in INVALID.values():
        checkpoint = a_checkpoint(**fields)
        StepRow.from_checkpoint(checkpoint, None, is_stored=True)


def test_versions_seen_may_be_mutated_and_are_checked_when_saved() -> None:
    checkpoint = a_checkpoint()
    checkpoint.versions_seen.update({name: dict.fromkeys(NAMES[:4], 1) for name in NAMES})
    with pytest.raises(LimitExceeded, match="nodes and versions"):
        StepRow.from_checkpoint(checkpoint, None)


def test_the_shortcut_for_short_columns_passes_nothing_that_is_too_large() -> None:
    for fields, _path, _message in INVALID.values():
        with pytest.raises(LimitExceeded):
            save(**fields)
    assert sizes._ALWAYS_VALID_LENGTH <= limits.MAX_NAME_LENGTH
    assert len(msgspec.json.encode([""] * limits.MAX_NODES)) > sizes._ALWAYS_VALID_LENGTH


@pytest.mark.parametrize("kind", WORST_STATES)
def test_the_worst_states_can_be_saved_and_are_as_large_as_can_be(kind: str) -> None:
    state = WORST_STATES[kind](1)
    data = dumps_state(state)
    containers = data.count(b"[") + data.count(b"{") - len(state.messages.items)
    assert len(data) <= STATE_BYTES
    assert len(data) > 0.9 * STATE_BYTES or containers > 0.9 * CONTAINERS
    assert loads_state(data) == state
    StepRow.from_checkpoint(a_checkpoint(state=state), STATE_BYTES, data)


def lists(count: int) -> dict[str, Any]:
    """Return the fields of a checkpoint whose state has this many lists and objects."""
    around_the_values = 3
    extra = {"lists": [[] for _ in range(count - around_the_values)], "text": "[{" * 100_000}
    messages = [Message.user("{") for _ in range(1000)]
    return {"state": VersionedState.new(messages, extra)}


def test_the_lists_and_objects_of_a_state_are_limited() -> None:
    limit = limits.MIN_CONTAINERS + STATE_BYTES // limits.BYTES_PER_CONTAINER
    save(**lists(limit))
    with pytest.raises(LimitExceeded) as refused:
        save(**lists(limit + 1))
    assert refused.value.path == "$.state"
    assert f"{limit + 1} lists and objects, the limit is {limit}" in refused.value.message


def test_the_limit_of_lists_and_objects_grows_with_the_limit_of_the_state() -> None:
    checkpoint = a_checkpoint(**lists(300_000))
    for max_state_bytes in (None, 2 * STATE_BYTES):
        StepRow.from_checkpoint(checkpoint, max_state_bytes)
    StepRow.from_checkpoint(checkpoint, STATE_BYTES, is_stored=True)


def test_a_small_limit_of_the_state_leaves_room_for_lists() -> None:
    state = VersionedState.new(extra={"lists": [[] for _ in range(30)]})
    StepRow.from_checkpoint(a_checkpoint(state=state), 1_000)


@pytest.mark.parametrize("build", [worst_columns, longest_columns])
def test_the_worst_columns_can_be_saved_and_are_as_large_as_can_be(build: Any) -> None:
    row = save(**build(1))
    checkpoint: Checkpoint = a_checkpoint(**build(1))
    if build is worst_columns:
        assert len(checkpoint.frontier) == limits.MAX_NODES
        seen = checkpoint.versions_seen
        assert len(seen) + sum(map(len, seen.values())) == limits.MAX_VERSIONS_SEEN
    else:
        assert len(row.frontier) > 0.95 * limits.MAX_NAMES_BYTES
        assert len(row.versions_seen) > 0.95 * limits.MAX_VERSIONS_SEEN_BYTES


def test_every_message_of_a_large_state_may_be_long() -> None:
    messages = [Message.user("x" * 1_000_000) for _ in range(6)]
    save(state=VersionedState.new(messages))
