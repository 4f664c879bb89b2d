"""Steps in a row: what each is beside the one before, and how the state grew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_POINTS = 200
WIDTH, HEIGHT = 1000, 100
"""Of the picture, in its own units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSummary:
    """The small columns of one step; counts are ``None`` where nobody wrote them."""

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
    """A step beside the one before it; the differences are ``None`` for the first."""

    since: timedelta | None
    message_delta: int | None
    error_delta: int | None
    size_delta: int | None
    is_late: bool
    """Whether it was saved later than the step that comes after it."""


def build_step_delta(
    record: StepSummary, previous: StepSummary | None, following: StepSummary | None
) -> StepDelta:
    """Return a step beside its neighbours."""
    return StepDelta(
        **{name: getattr(record, name) for name in StepSummary.__slots__},
        since=None if previous is None else record.created_at - previous.created_at,
        message_delta=_more(record.messages, None if previous is None else previous.messages),
        error_delta=_more(record.errors, None if previous is None else previous.errors),
        size_delta=_more(record.bytes, None if previous is None else previous.bytes),
        is_late=following is not None and record.created_at > following.created_at,
    )


def build_step_deltas(records: Sequence[StepSummary], size: int) -> Iterator[StepDelta]:
    """Yield the first ``size`` of some steps, newest first, each beside the next older."""
    for index, record in enumerate(records[:size]):
        older = records[index + 1] if index + 1 < len(records) else None
        newer = records[index - 1] if index > 0 else None
        yield build_step_delta(record, older, newer)


def _more(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before


def get_evenly_spaced(first: int, last: int, most: int = MAX_POINTS) -> list[int]:
    """Return up to ``most`` (2 or more) numbers from ``first`` to ``last``, both included."""
    span = last - first
    if span < most:
        return list(range(first, last + 1))
    return [first + span * index // (most - 1) for index in range(most)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePoint:
    """The size of the state and the number of errors at one step."""

    step: int
    bytes: int | None
    errors: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """How the state grew, as a line and in the three sizes that say most."""

    line: str
    """The points of an SVG polyline in a view of ``WIDTH`` by ``HEIGHT``."""
    first: TimelinePoint
    last: TimelinePoint
    largest: TimelinePoint
    count: int


def build_timeline(points: Sequence[TimelinePoint]) -> Timeline | None:
    """Return the timeline of some steps, the oldest first; two or more have one."""
    known = [(point, point.bytes) for point in points if point.bytes is not None]
    if len(known) < 2:
        return None
    largest, top = max(known, key=lambda pair: pair[1])
    first, last = known[0][0], known[-1][0]
    span = last.step - first.step
    line = " ".join(
        f"{WIDTH * (point.step - first.step) / span:.1f},{HEIGHT - HEIGHT * size / (top or 1):.1f}"
        for point, size in known
    )
    return Timeline(line=line, first=first, last=last, largest=largest, count=len(known))


def bracket_error_increase(points: Sequence[TimelinePoint], count: int) -> tuple[int, int] | None:
    """Return the steps between which the errors last rose to ``count`` or more.

    The first of the two has fewer (or is −1 where there is none), the second has them.
    """
    above = -1
    below: int | None = None
    for point in reversed(points):
        if (point.errors or 0) >= count:
            below = point.step
        else:
            above = point.step
            break
    return None if below is None else (above, below)
