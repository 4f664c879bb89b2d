"""The weave: nodes × steps, with what each node did at each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from weavegraph_checkpoints.admin.presenters.timeline import StepFacts

MOST_NODES = 40
LONGEST_FLAT = 99
LONG_GAP = 10
"""A gap is long from this many times the median on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one node did at one step."""

    step: int
    ran: bool
    skipped: bool
    next: bool
    """Whether it is in the frontier after the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One node through all steps of the weave."""

    node: str
    """In its text form, ``Custom:plan``."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One step of the weave."""

    step: int
    has_new_errors: bool
    gap: timedelta | None
    """The time since the step before, where it is more than ten times the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weave:
    """A grid of nodes and steps, the oldest step first."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    node_count: int
    """How many nodes take part, shown or not."""

    @property
    def hidden(self) -> int:
        """How many nodes are not shown."""
        return self.node_count - len(self.rows)

    @property
    def has_long_numbers(self) -> bool:
        """Whether the number of a step takes more room than a cell has."""
        return any(column.step > LONGEST_FLAT for column in self.columns)

    @property
    def has_errors(self) -> bool:
        """Whether errors rose at one of the steps."""
        return any(column.has_new_errors for column in self.columns)

    @property
    def has_gaps(self) -> bool:
        """Whether the run stood still before one of the steps."""
        return any(column.gap is not None for column in self.columns)


def weave_of(steps: Sequence[StepFacts], *, most: int | None = MOST_NODES) -> Weave:
    """Return the weave of some steps, the oldest first.

    Nodes come in the order of their first appearance; of more than ``most``, those that
    ran, were skipped or came next most often are left.
    """
    activity = Counter(node for step in steps for node in _nodes_of(step))
    nodes = list(activity)
    if most is not None and len(nodes) > most:
        kept = {node for node, _times in activity.most_common(most)}
        nodes = [node for node in nodes if node in kept]
    parts = [(step.step, set(step.ran), set(step.skipped), set(step.frontier)) for step in steps]
    rows = tuple(
        Row(
            node=node,
            cells=tuple(
                Cell(step=step, ran=node in ran, skipped=node in skipped, next=node in frontier)
                for step, ran, skipped, frontier in parts
            ),
        )
        for node in nodes
    )
    return Weave(columns=tuple(_columns(steps)), rows=rows, node_count=len(activity))


def _nodes_of(step: StepFacts) -> Iterator[str]:
    yield from dict.fromkeys((*step.ran, *step.skipped, *step.frontier))


def _columns(steps: Sequence[StepFacts]) -> Iterator[Column]:
    waits = [step.since.total_seconds() for step in steps if step.since is not None]
    usual = timedelta(seconds=median(waits)) if waits else timedelta(0)
    for step in steps:
        is_long = step.since is not None and timedelta(0) < usual * LONG_GAP < step.since
        yield Column(
            step=step.step,
            has_new_errors=(step.errors_more or 0) > 0,
            gap=step.since if is_long else None,
        )
