"""Reads of steps by their small columns."""

from __future__ import annotations

from dataclasses import dataclass

from weavegraph_checkpoints.admin.formatting import get_strings
from weavegraph_checkpoints.admin.presenters.timeline import (
    StepDelta,
    StepSummary,
    TimelinePoint,
    bracket_error_increase,
    build_step_delta,
    build_step_deltas,
    get_evenly_spaced,
)
from weavegraph_checkpoints.models import Step
from weavegraph_checkpoints.querysets import StepQuerySet

PAGE = 50
WINDOW = 5_000
"""Steps in which a node is searched at a time."""
FEW_POINTS = 60
"""Points of a timeline where the numbers of the steps have gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPage:
    """Steps of a session, newest first, and where the pages around them begin."""

    steps: tuple[StepDelta, ...]
    older: int | None = None
    """The first step of the next older page."""
    newer: int | None = None
    """The step that the next newer page comes after."""
    searched_to: int | None = None
    """Where a search for a node stopped, with older steps left to search."""


def record_of(step: Step) -> StepSummary:
    """Return the small columns of a row."""
    return StepSummary(
        step=step.step,
        created_at=step.created_at,
        ran=get_strings(step.ran_nodes),
        skipped=get_strings(step.skipped_nodes),
        frontier=get_strings(step.frontier),
        channels=get_strings(step.updated_channels),
        messages=step.message_count,
        errors=step.error_count,
        bytes=step.state_bytes,
    )


def newest_page(steps: StepQuerySet, up_to: int | None) -> StepPage:
    """Return 50 steps from ``up_to`` (default: the newest) on downwards."""
    found = steps if up_to is None else steps.filter(step__lte=up_to)
    records = _records(found.order_by("-step")[: PAGE + 1])
    successor = None
    if up_to is not None and records:
        successor = after(steps, records[0].step)
    older = records[PAGE].step if len(records) > PAGE else None
    return StepPage(
        steps=_with_successor(list(build_step_deltas(records, PAGE)), records, successor),
        older=older,
        newer=records[0].step if successor is not None else None,
    )


def page_after(steps: StepQuerySet, step: int) -> StepPage:
    """Return the 50 steps that come after ``step``."""
    oldest_first = _records(steps.filter(step__gte=step).order_by("step")[: PAGE + 2])
    has_predecessor = bool(oldest_first) and oldest_first[0].step == step
    shown = oldest_first[1:] if has_predecessor else oldest_first
    successor = shown[PAGE] if len(shown) > PAGE else None
    records = list(reversed(oldest_first[: len(shown[:PAGE]) + has_predecessor]))
    facts = list(build_step_deltas(records, len(shown[:PAGE])))
    return StepPage(
        steps=_with_successor(facts, records, successor),
        older=step if has_predecessor else None,
        newer=records[0].step if successor is not None else None,
    )


def page_of_node(steps: StepQuerySet, node: str, up_to: int | None) -> StepPage:
    """Return up to 50 steps in which a node took part, among 5 000 at a time."""
    found = steps if up_to is None else steps.filter(step__lte=up_to)
    numbers = found.order_by("-step").numbers()
    edge = next(iter(numbers[WINDOW : WINDOW + 1]), None)
    window = found if edge is None else found.filter(step__gt=edge)
    rows = list(window.took_part(node).with_previous().order_by("-step").light()[: PAGE + 1])
    known = {
        record.step: record
        for record in _records(
            steps.filter(step__in=[row.previous for row in rows if row.previous is not None])
        )
    }
    facts = [build_step_delta(record_of(row), known.get(row.previous), None) for row in rows[:PAGE]]
    more = rows[PAGE].step if len(rows) > PAGE else None
    return StepPage(
        steps=tuple(facts),
        older=more,
        searched_to=edge if more is None else None,
    )


def before(steps: StepQuerySet, step: int) -> StepSummary | None:
    """Return the step before a number, if there is one."""
    return next(iter(_records(steps.filter(step__lt=step).order_by("-step")[:1])), None)


def after(steps: StepQuerySet, step: int) -> StepSummary | None:
    """Return the step after a number, if there is one."""
    return next(iter(_records(steps.filter(step__gt=step).order_by("step")[:1])), None)


def one(steps: StepQuerySet, step: int) -> StepSummary | None:
    """Return one step."""
    return next(iter(_records(steps.filter(step=step))), None)


def points_of(steps: StepQuerySet, last: int) -> list[TimelinePoint]:
    """Return up to 200 evenly spaced steps up to the last, the oldest first."""
    first = next(iter(steps.order_by("step").numbers()[:1]), None)
    if first is None:
        return []
    wanted = get_evenly_spaced(first, last)
    points = _points(steps, wanted)
    if len(points) < len(wanted) / 2:
        points = _points(steps, steps.nearest(get_evenly_spaced(first, last, FEW_POINTS)))
    return points


def find_error_increase(steps: StepQuerySet, points: list[TimelinePoint], count: int) -> int | None:
    """Return the step at which the errors last rose to ``count``, as far as points tell."""
    between = bracket_error_increase(points, count)
    if between is None:
        return None
    above, below = between
    found = steps.filter(step__gt=above, step__lte=below, error_count__gte=count)
    return next(iter(found.order_by("step").numbers()[:1]), None)


def _points(steps: StepQuerySet, numbers: list[int]) -> list[TimelinePoint]:
    rows = steps.filter(step__in=numbers).order_by("step")
    return [
        TimelinePoint(step=step, bytes=size, errors=errors)
        for step, size, errors in rows.values_list("step", "state_bytes", "error_count")
    ]


def _records(steps: StepQuerySet) -> list[StepSummary]:
    return [record_of(row) for row in steps.light()]


def _with_successor(
    facts: list[StepDelta], records: list[StepSummary], successor: StepSummary | None
) -> tuple[StepDelta, ...]:
    """Return steps of which the newest knows the one that comes after it."""
    if successor is not None and facts:
        predecessor = records[1] if len(records) > 1 else None
        facts[0] = build_step_delta(records[0], predecessor, successor)
    return tuple(facts)
