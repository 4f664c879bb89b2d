"""The graph of the audit.

::

    Start → collect → licences     ┐
               ↑    → sizes        ├→ report → End
               │    → dependencies ┘
               └───────────┘

``collect`` and ``report`` both follow a batch. ``report`` reads only messages and errors, so
it is skipped after a batch that changed neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from example_project.audit import nodes
from example_project.audit.task import Result, Task
from weavegraph_checkpoints import NodeKind, VersionedState

COLLECT = NodeKind.custom("collect")
LICENCES = NodeKind.custom("licences")
SIZES = NodeKind.custom("sizes")
DEPENDENCIES = NodeKind.custom("dependencies")
REPORT = NodeKind.custom("report")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The function of a node, and the channels that it reads."""

    run: Callable[[Task], Result]
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes, and the successors of a node in a given state."""

    nodes: Mapping[NodeKind, Node]
    successors: Callable[[NodeKind, VersionedState], tuple[NodeKind, ...]]

    def frontier_after(
        self, ran: Iterable[NodeKind], state: VersionedState
    ) -> tuple[NodeKind, ...]:
        """Return the next nodes without duplicates; End only if there is no other."""
        reached = dict.fromkeys(next_ for node in ran for next_ in self.successors(node, state))
        return tuple(node for node in reached if not node.is_end) or tuple(reached)


def audit_successors(node: NodeKind, state: VersionedState) -> tuple[NodeKind, ...]:
    """Return the successors of ``node``."""
    if node.is_start:
        return (COLLECT,)
    if node == REPORT:
        return (NodeKind.END,)
    if node != COLLECT:
        return (REPORT, COLLECT)
    nothing_left = state.extra.map["batch"] is None
    return (REPORT,) if nothing_left else (LICENCES, SIZES, DEPENDENCIES)


AUDIT = Graph(
    nodes={
        COLLECT: Node(run=nodes.collect, reads=("extra",)),
        LICENCES: Node(run=nodes.licences, reads=("extra",)),
        SIZES: Node(run=nodes.sizes, reads=("extra",)),
        DEPENDENCIES: Node(run=nodes.dependencies, reads=("extra",)),
        REPORT: Node(run=nodes.report, reads=("messages", "errors")),
    },
    successors=audit_successors,
)


def expected_last_step(distributions: int) -> int:
    """Return the number of the last step of an audit: two for each batch, two at the end."""
    return 2 * len(nodes.plan([""] * distributions)) + 2
