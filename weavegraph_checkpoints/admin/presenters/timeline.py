"""Steps compared with the previous one, and the size of the state over all steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

MAX_POINTS = 200
WIDTH, HEIGHT = 1000, 100
"""The size of the chart, in units of its view box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSummary:
    """The small columns of a step; counts may be ``None`` in rows written by other programs."""

    step: int
    created_at: datetime
    ran: tuple[str, ...]
    skipped: tuple[str, ...]
    frontier: tuple[str, ...]
    channels: tuple[str, ...]
    messages: int | None
    errors: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDelta(StepSummary):
    """A step with its differences from the previous step, ``None`` for the first step."""

    since: timedelta | None
    message_delta: int | None
    error_delta: int | None
    size_delta: int | None
    is_late: bool
    """Whether it was saved after the next step."""


class TimelinePoint(NamedTuple):
    """The size of the state and the number of errors at one step."""

    step: int
    bytes: int | None
    errors: int | None


class Timeline(NamedTuple):
    """The size of the state over the steps."""

    polyline: str
    """The points of an SVG polyline in a view box of ``WIDTH`` by ``HEIGHT``."""
    point_count: int
    first: TimelinePoint
    last: TimelinePoint
    largest: TimelinePoint


def build_step_delta(
    step: StepSummary, previous: StepSummary | None, following: StepSummary | None
) -> StepDelta:
    """Return a step with its differences from the adjacent steps."""

    def subtract(name: str) -> Any:
        value, previous_value = getattr(step, name), getattr(previous, name, None)
        return None if value is None or previous_value is None else value - previous_value

    return StepDelta(
        **{name: getattr(step, name) for name in StepSummary.__slots__},
        since=subtract("created_at"),
        message_delta=subtract("messages"),
        error_delta=subtract("errors"),
        size_delta=subtract("bytes"),
        is_late=following is not None and step.created_at > following.created_at,
    )


def build_step_deltas(
    steps: Sequence[StepSummary], size: int, newer: StepSummary | None = None
) -> Iterator[StepDelta]:
    """Yield the first ``size`` steps, newest first, with their differences.

    ``newer`` is the step that follows the first one.
    """
    adjacent = zip(steps[:size], [*steps[1:], None], [newer, *steps], strict=False)
    for step, previous, following in adjacent:
        yield build_step_delta(step, previous, following)


def get_evenly_spaced(first: int, last: int, count: int = MAX_POINTS) -> list[int]:
    """Return up to ``count`` numbers from ``first`` to ``last``, both included."""
    span = last - first
    gaps = min(span, count - 1)
    return [first + span * index // max(gaps, 1) for index in range(gaps + 1)]


def build_timeline(points: Sequence[TimelinePoint]) -> Timeline | None:
    """Return the timeline of points sorted by step, ``None`` if fewer than two have a size."""
    known = [(point, point.bytes) for point in points if point.bytes is not None]
    if len(known) < 2:
        return None
    (first, _size), (last, _size) = known[0], known[-1]
    largest, max_size = max(known, key=lambda pair: pair[1])
    x_scale, y_scale = WIDTH / (last.step - first.step), HEIGHT / (max_size or 1)
    polyline = " ".join(
        f"{x_scale * (point.step - first.step):.1f},{HEIGHT - y_scale * size:.1f}"
        for point, size in known
    )
    return Timeline(polyline, len(known), first, last, largest)


def bracket_error_increase(points: Sequence[TimelinePoint], count: int) -> tuple[int, int] | None:
    """Return the steps between which the errors last rose to ``count`` or more.

    The first has fewer errors, or is -1 if there is none; the second has ``count`` or more.
    """
    above, up_to = -1, None
    for point in reversed(points):
        if (point.errors or 0) < count:
            above = point.step
            break
        up_to = point.step
    return None if up_to is None else (above, up_to)
