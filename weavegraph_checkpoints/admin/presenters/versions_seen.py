"""What each node had seen when it last ran, beside the present versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weavegraph_checkpoints.domain import VersionedState, VersionsSeen
from weavegraph_checkpoints.domain.escaping import escape_control_chars

MAX_NODES = 200
MAX_CHANNELS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCell:
    """The version of a channel that a node saw; ``None`` for one it never saw."""

    version: int | None
    is_behind: bool
    """Whether the channel has moved on since, which is why the node will run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRow:
    """One node, under its key as it is stored."""

    node: str
    cells: tuple[SeenCell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The matrix of nodes and channels."""

    channels: tuple[tuple[str, int | None], ...]
    """Each with its present version, where the state has a channel of that name."""
    rows: tuple[SeenRow, ...]
    hidden_nodes: int
    hidden_channels: int


def build_versions_seen(versions_seen: VersionsSeen, state: VersionedState) -> Seen:
    """Return the matrix of what the nodes of a checkpoint had seen."""
    present = {
        "messages": state.messages.version,
        "extra": state.extra.version,
        "errors": state.errors.version,
    }
    names = list(dict.fromkeys(name for seen in versions_seen.values() for name in seen))
    names.sort(key=lambda name: list(present).index(name) if name in present else len(present))
    shown = names[:MAX_CHANNELS]
    rows = tuple(
        SeenRow(
            node=escape_control_chars(node),
            cells=tuple(_cell(seen, name, present) for name in shown),
        )
        for node, seen in list(versions_seen.items())[:MAX_NODES]
    )
    return Seen(
        channels=tuple((escape_control_chars(name), present.get(name)) for name in shown),
        rows=rows,
        hidden_nodes=len(versions_seen) - len(rows),
        hidden_channels=len(names) - len(shown),
    )


def _cell(seen: Mapping[str, int], name: str, present: Mapping[str, int]) -> SeenCell:
    version = seen.get(name)
    return SeenCell(
        version=version, is_behind=version is not None and version < present.get(name, version)
    )
