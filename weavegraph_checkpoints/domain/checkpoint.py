"""Checkpoints: the steps of a session, each with everything needed to resume from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.limits import (
    MAX_CONCURRENCY_LIMIT,
    MAX_COUNTER,
    MAX_STEP,
    check_integer,
    check_session_id,
    check_text,
    copy_sequence,
    is_integer,
    is_storable_text,
    safe_repr,
)
from weavegraph_checkpoints.domain.nodes import NodeKind, as_node
from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.domain.state import VersionedState
from weavegraph_checkpoints.exceptions import InvalidCheckpoint, InvalidQuery

VersionsSeen = dict[str, dict[str, int]]
"""For each node, the version of each channel that it saw when it last ran.

The keys are opaque text; the versions are 0 to 2^64−1.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """The state that a runtime needs to continue a session."""

    state: VersionedState
    step: int
    frontier: tuple[NodeKind, ...]
    versions_seen: VersionsSeen
    concurrency_limit: int = 1

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            state: VersionedState,
            step: int,
            frontier: Iterable[NodeKind | str],
            versions_seen: Mapping[str, Mapping[str, int]],
            concurrency_limit: int = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        _check_state_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The record that is saved after each superstep (barrier) of a session.

    The constructor copies sequences and mappings (``versions_seen`` two levels deep) and
    raises ``InvalidCheckpoint`` for a value outside its range. The JSON inside ``state`` is
    neither copied nor frozen; it is checked when it is serialized.
    """

    session_id: str
    """1 to 255 characters: any text without U+0000 and lone surrogates."""
    step: int
    """0 to 2^63−1."""
    state: VersionedState
    frontier: tuple[NodeKind, ...]
    """The nodes to resume from."""
    versions_seen: VersionsSeen
    concurrency_limit: int = 1
    """0 to 2^63−1; a session keeps the one of its first checkpoint."""
    created_at: datetime = field(default_factory=timestamps.now)
    """An aware ``datetime`` with microseconds; converted to UTC."""
    ran_nodes: tuple[NodeKind, ...] = ()
    skipped_nodes: tuple[NodeKind, ...] = ()
    updated_channels: tuple[str, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            session_id: str,
            step: int,
            state: VersionedState,
            frontier: Iterable[NodeKind | str],
            versions_seen: Mapping[str, Mapping[str, int]],
            concurrency_limit: int = ...,
            created_at: datetime = ...,
            ran_nodes: Iterable[NodeKind | str] = ...,
            skipped_nodes: Iterable[NodeKind | str] = ...,
            updated_channels: Iterable[str] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        check_session_id(self.session_id)
        _check_state_fields(self)
        keep = object.__setattr__
        try:
            keep(self, "created_at", timestamps.to_utc(self.created_at))
        except ValueError as error:
            raise InvalidCheckpoint(str(error), "$.created_at") from None
        keep(self, "ran_nodes", _nodes(self.ran_nodes, "ran_nodes"))
        keep(self, "skipped_nodes", _nodes(self.skipped_nodes, "skipped_nodes"))
        keep(self, "updated_channels", _channels(self.updated_channels))

    @classmethod
    def from_session(cls, session_id: str, session_state: SessionState) -> Checkpoint:
        """Return a checkpoint of the current state of a session, created now."""
        return cls(
            session_id=session_id,
            step=session_state.step,
            state=session_state.state,
            frontier=session_state.frontier,
            versions_seen=session_state.versions_seen,
            concurrency_limit=session_state.concurrency_limit,
        )


def restore_session_state(checkpoint: Checkpoint) -> SessionState:
    """Return the state that a runtime needs to continue from ``checkpoint``."""
    return SessionState(
        state=checkpoint.state,
        step=checkpoint.step,
        frontier=checkpoint.frontier,
        versions_seen=checkpoint.versions_seen,
        concurrency_limit=checkpoint.concurrency_limit,
    )


def check_fields(names: Iterable[str]) -> frozenset[str]:
    """Return names of fields of a checkpoint. Raise ``InvalidQuery`` for an unknown name."""
    fields = frozenset(names)
    for name in fields - set(Checkpoint.__dataclass_fields__):
        raise InvalidQuery(f"a checkpoint has no field {safe_repr(name)}", "fields")
    return fields


def _check_state_fields(record: Checkpoint | SessionState) -> None:
    """Check and copy the fields that both classes have."""
    check_integer(record.step, "step", MAX_STEP)
    check_integer(record.concurrency_limit, "concurrency_limit", MAX_CONCURRENCY_LIMIT)
    if not isinstance(record.state, VersionedState):
        raise InvalidCheckpoint(
            f"expected a VersionedState, not {safe_repr(record.state)}", "$.state"
        )
    keep = object.__setattr__
    keep(record, "frontier", _nodes(record.frontier, "frontier"))
    keep(record, "versions_seen", copy_versions_seen(record.versions_seen))


def _nodes(nodes: Iterable[NodeKind | str], name: str) -> tuple[NodeKind, ...]:
    kinds: list[NodeKind] = []
    for node in copy_sequence(nodes, f"$.{name}"):
        try:
            kinds.append(_decode_node(node) if type(node) is str else _check_node(as_node(node)))
        except InvalidCheckpoint as error:
            raise InvalidCheckpoint(error.message, f"$.{name}[{len(kinds)}]") from None
    return tuple(kinds)


@lru_cache(maxsize=1024)
def _decode_node(text: str) -> NodeKind:
    """Return the node of a text. A workflow has few nodes, so they are cached."""
    return _check_node(NodeKind.decode(text))


def _check_node(node: NodeKind) -> NodeKind:
    check_text(node.encoded, "$")
    return node


def _channels(channels: Iterable[str]) -> tuple[str, ...]:
    names = copy_sequence(channels, "$.updated_channels")
    for position, name in enumerate(names):
        check_text(name, f"$.updated_channels[{position}]")
    return names


def copy_versions_seen(seen: Mapping[str, Mapping[str, int]]) -> VersionsSeen:
    """Return a copy of ``versions_seen``, two levels deep.

    Raise ``InvalidCheckpoint`` with the path of a key that cannot be stored, and of a
    version that is not an integer from 0 to 2^64−1.
    """
    copy = {}
    for node, versions in _items(seen, "$.versions_seen"):
        check_text(node, "$.versions_seen")
        if type(versions) is not dict:
            versions = _items(versions, join_json_path("$.versions_seen", node))
        copy[node] = own = dict(versions)
        for channel, version in own.items():
            if not (is_storable_text(channel) and is_integer(version, MAX_COUNTER)):
                _refuse_version(node, channel, version)
    return copy


def _refuse_version(node: str, channel: object, version: object) -> None:
    path = join_json_path("$.versions_seen", node)
    check_text(channel, path)
    raise InvalidCheckpoint(
        f"expected an integer from 0 to {MAX_COUNTER}, not {safe_repr(version)}",
        join_json_path(path, str(channel)),
    )


def _items(mapping: object, path: str) -> Iterable[tuple[Any, Any]]:
    if type(mapping) is not dict and not isinstance(mapping, Mapping):
        raise InvalidCheckpoint(f"expected a mapping, not {safe_repr(mapping)}", path)
    return mapping.items()
