"""The weave: a table of nodes and steps that shows what each node did at each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress, product
from statistics import median
from typing import NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin.formatting import format_duration
from weavegraph_checkpoints.admin.presenters.timeline import StepDelta

MAX_NODES = 40
MAX_CELLS = 10_000
"""Cells of a weave of all nodes: about 0.2 s of work."""
MAX_HORIZONTAL_STEP = 99
"""Larger step numbers are wider than a cell and are written vertically."""
LONG_GAP_FACTOR = 10


class Cell(NamedTuple):
    """What one node did at one step."""

    ran: bool
    skipped: bool
    next: bool
    """Whether the node is in the frontier after the step."""


class Row(NamedTuple):
    """One node, in its encoded form such as ``Custom:plan``, and its cells."""

    node: str
    cells: tuple[Cell, ...]


class Column(NamedTuple):
    """One step of the weave."""

    step: int
    has_new_errors: bool
    gap: str
    """The time since the previous step, only if it is more than ten times the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weave:
    """Nodes as rows, steps as columns with the oldest first."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    node_count: int
    """Number of nodes, including hidden ones."""

    @property
    def hidden(self) -> int:
        """Number of hidden nodes."""
        return self.node_count - len(self.rows)

    @property
    def has_long_numbers(self) -> bool:
        """Whether a step number is wider than a cell."""
        return any(column.step > MAX_HORIZONTAL_STEP for column in self.columns)

    @property
    def has_errors(self) -> bool:
        """Whether a step has new errors."""
        return any(column.has_new_errors for column in self.columns)

    @property
    def has_gaps(self) -> bool:
        """Whether there is a long gap before a step."""
        return any(column.gap for column in self.columns)


def build_weave(steps: Sequence[StepDelta], *, max_nodes: int | None = MAX_NODES) -> Weave:
    """Return the weave of steps that are sorted with the oldest first.

    Nodes are sorted by first appearance. If there are more than ``max_nodes``, only the most
    active ones are kept: those that ran, were skipped or were next most often. ``None`` keeps
    as many as ``MAX_CELLS`` allows.
    """
    if max_nodes is None:
        max_nodes = max(MAX_NODES, MAX_CELLS // max(len(steps), 1))
    nodes_by_step = [(set(step.ran), set(step.skipped), set(step.frontier)) for step in steps]
    activity = Counter(
        node for step in steps for node in dict.fromkeys((*step.ran, *step.skipped, *step.frontier))
    )
    kept = {node for node, _count in activity.most_common(max_nodes)}
    rows = tuple(
        Row(
            node=node,
            cells=tuple(Cell(*(node in names for names in sets)) for sets in nodes_by_step),
        )
        for node in activity
        if node in kept
    )
    return Weave(columns=tuple(_build_columns(steps)), rows=rows, node_count=len(activity))


def _build_columns(steps: Sequence[StepDelta]) -> Iterator[Column]:
    gaps = [step.since.total_seconds() for step in steps if step.since is not None]
    usual = timedelta(seconds=median(gaps or [0]))
    for step in steps:
        gap = step.since or timedelta(0)
        is_long = timedelta(0) < usual * LONG_GAP_FACTOR < gap
        has_new_errors = (step.error_delta or 0) > 0
        yield Column(step.step, has_new_errors, format_duration(gap) if is_long else "")


def build_cell_symbols() -> dict[tuple[bool, ...], SafeString]:
    """Return the HTML of every possible ``Cell``."""
    kinds = (("ran", "●", _("ran")), ("skipped", "○", _("skipped")), ("next", "▷", _("next")))
    symbols = [
        format_html(
            '<span class="weave-{}"><span aria-hidden="true">{}</span>'
            '<span class="weave-visually-hidden">{}</span></span>',
            *kind,
        )
        for kind in kinds
    ]
    return {
        cell: format_html_join("", "{}", ((symbol,) for symbol in compress(symbols, cell)))
        for cell in product((False, True), repeat=len(symbols))
    }
