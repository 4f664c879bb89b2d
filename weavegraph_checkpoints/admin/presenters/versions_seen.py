"""The channel versions that each node has seen, compared with the current versions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.domain import VersionedState
from weavegraph_checkpoints.domain import VersionsSeen as VersionsByNode
from weavegraph_checkpoints.domain.limits import MAX_NAME_LENGTH

MAX_NODES = 200
MAX_CHANNELS = 30
CHANNELS = ("messages", "extra", "errors")


class SeenVersion(NamedTuple):
    """The version of a channel that a node has seen, ``None`` if it has not seen any."""

    version: int | None
    is_behind: bool
    """Whether the channel has a newer version, so that the node runs again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionsSeen:
    """A table of nodes and channels."""

    channels: tuple[tuple[str, int | None], ...]
    """The names of the channels with their current versions, if they are part of the state."""
    rows: tuple[tuple[str, tuple[SeenVersion, ...]], ...]
    """The stored keys of the nodes with the versions they have seen."""
    hidden_nodes: int
    hidden_channels: int


def build_versions_seen(
    versions_seen: VersionsByNode, state: VersionedState, budget: PageBudget | None = None
) -> VersionsSeen:
    """Return the versions that nodes have seen, with the channels of the state first."""
    budget = budget or PageBudget()
    current = {name: getattr(state, name).version for name in CHANNELS}
    found = dict.fromkeys(name for seen in versions_seen.values() for name in seen)
    names = [name for name in CHANNELS if name in found]
    names += [name for name in found if name not in current]
    shown = names[:MAX_CHANNELS]
    rows = tuple(
        (
            budget.truncate(node, MAX_NAME_LENGTH)[0],
            tuple(
                SeenVersion(seen.get(name), name in seen and seen[name] < current.get(name, 0))
                for name in shown
            ),
        )
        for node, seen in islice(versions_seen.items(), MAX_NODES)
    )
    return VersionsSeen(
        channels=tuple(
            (budget.truncate(name, MAX_NAME_LENGTH)[0], current.get(name)) for name in shown
        ),
        rows=rows,
        hidden_nodes=len(versions_seen) - len(rows),
        hidden_channels=len(names) - len(shown),
    )
