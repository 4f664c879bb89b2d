"""Read steps for the admin pages by their small columns, never their states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connections
from django.db.models import TextField
from django.db.models.functions import Cast

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
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.models import Step
from weavegraph_checkpoints.querysets import StepQuerySet
from weavegraph_checkpoints.serde.deltas import is_delta

PAGE_SIZE = 50
MAX_DECODED_BYTES = 80_000_000
"""States that may take more memory than this are not decoded for a page."""
BYTES_PER_CHAR = {",": 60, ":": 40, "[": 90, "{": 200}
"""Memory that the value which begins with each character of JSON takes, at most."""
BYTES_PER_TEXT = 30
"""Memory that a text which is not ASCII takes beyond that."""
SMALL_STATE_BYTES = 500_000
"""States up to this size never take more than half of ``MAX_DECODED_BYTES``."""
NODE_SEARCH_SIZE = 5_000
"""Steps searched for a node per request."""
SPARSE_POINTS = 60
"""Points of a timeline whose step numbers have gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPage:
    """A page of steps, newest first, and where the adjacent pages begin."""

    steps: tuple[StepDelta, ...]
    older: int | None = None
    """The newest step of the next older page."""
    newer: int | None = None
    """The newest step of this page, if there are newer pages."""
    searched_to: int | None = None
    """The next step to search for a node, if the search is not complete."""


def get_newest_page(steps: StepQuerySet, up_to: int | None) -> StepPage:
    """Return 50 steps, from ``up_to`` or else from the newest step downwards."""
    found = steps if up_to is None else steps.filter(step__lte=up_to)
    rows = _summarize_all(found.order_by("-step")[: PAGE_SIZE + 1])
    newer = get_next_step(steps, rows[0].step) if up_to is not None and rows else None
    return StepPage(
        steps=tuple(build_step_deltas(rows, PAGE_SIZE, newer)),
        older=rows[PAGE_SIZE].step if len(rows) > PAGE_SIZE else None,
        newer=None if newer is None else rows[0].step,
    )


def get_page_after(steps: StepQuerySet, step: int) -> StepPage:
    """Return the 50 steps that follow ``step``."""
    rows = _summarize_all(steps.filter(step__gte=step).order_by("step")[: PAGE_SIZE + 2])
    older = rows[:1] if rows and rows[0].step == step else []
    following = rows[len(older) :]
    shown = following[:PAGE_SIZE][::-1]
    newer = following[PAGE_SIZE] if len(following) > PAGE_SIZE else None
    return StepPage(
        steps=tuple(build_step_deltas(shown + older, len(shown), newer)),
        older=step if older else None,
        newer=None if newer is None else shown[0].step,
    )


def get_node_page(steps: StepQuerySet, node: str, up_to: int | None) -> StepPage:
    """Return up to 50 steps in which a node ran or was skipped, among the next 5 000."""
    found = steps if up_to is None else steps.filter(step__lte=up_to)
    numbers = found.order_by("-step").step_numbers()
    edge = next(iter(numbers[NODE_SEARCH_SIZE : NODE_SEARCH_SIZE + 1]), None)
    window = found if edge is None else found.filter(step__gt=edge)
    rows = list(
        window.with_node(node).with_previous().order_by("-step").defer_state()[: PAGE_SIZE + 1]
    )
    previous = [row.previous for row in rows if row.previous is not None]
    summaries = {row.step: row for row in _summarize_all(steps.filter(step__in=previous))}
    older = rows[PAGE_SIZE].step if len(rows) > PAGE_SIZE else None
    return StepPage(
        steps=tuple(
            build_step_delta(_summarize(row), summaries.get(row.previous), None)
            for row in rows[:PAGE_SIZE]
        ),
        older=older,
        searched_to=edge if older is None else None,
    )


def get_step(steps: StepQuerySet, step: int) -> StepSummary | None:
    """Return one step."""
    return _summarize_first(steps.filter(step=step))


def is_decodable(*sides: tuple[StepQuerySet, StepSummary]) -> bool:
    """Return whether the states of steps can be decoded together in ``MAX_DECODED_BYTES``.

    Reads the text of large states only, and never puts one together. The estimate is too high
    if messages consist of punctuation, or keyframes have much that the state has no longer.
    """
    large = [
        (steps, step)
        for steps, step in sides
        if step.bytes is None or step.bytes > SMALL_STATE_BYTES
    ]
    return sum(_estimate_decoded_bytes(*side) for side in large) <= MAX_DECODED_BYTES


def _estimate_decoded_bytes(steps: StepQuerySet, step: StepSummary) -> int:
    found = steps.filter(step=step.step).annotate(text=Cast("state", TextField()))
    row = found.values_list("session_id", "base_id", "text").first()
    if row is None:
        return 0
    session_id, base_id, text = row
    texts = [text]
    if base_id is not None and is_delta(text):
        # A state has no values that neither its changes nor their keyframes have.
        keyframes = get_backend(connections[steps.db]).read_keyframes(session_id, base_id)
        texts += [str(keyframe.state) for keyframe in keyframes]
    return sum(map(_estimate_text, texts))


def _estimate_text(text: str) -> int:
    total = sum(text.count(char) * size for char, size in BYTES_PER_CHAR.items())
    return total if text.isascii() else total + text.count(",") * BYTES_PER_TEXT


def get_previous_step(steps: StepQuerySet, step: int) -> StepSummary | None:
    """Return the step with the next lower number."""
    return _summarize_first(steps.filter(step__lt=step).order_by("-step"))


def get_next_step(steps: StepQuerySet, step: int) -> StepSummary | None:
    """Return the step with the next higher number."""
    return _summarize_first(steps.filter(step__gt=step).order_by("step"))


def get_timeline_points(steps: StepQuerySet, last: int) -> list[TimelinePoint]:
    """Return up to 200 evenly spaced steps up to ``last``, oldest first."""
    first = steps.order_by("step").step_numbers().first()
    if first is None:
        return []
    wanted = get_evenly_spaced(first, last)
    points = _get_points(steps, wanted)
    if len(points) < len(wanted) / 2:
        points = _get_points(
            steps, steps.first_at_or_above(get_evenly_spaced(first, last, SPARSE_POINTS))
        )
    return points


def find_error_increase(steps: StepQuerySet, points: list[TimelinePoint], count: int) -> int | None:
    """Return the step at which the errors last rose to ``count``, to the points' precision."""
    found = bracket_error_increase(points, count)
    return None if found is None else _find_errors(steps, *found, count)


def get_next_error_step(steps: StepQuerySet, step: StepSummary, last: int) -> int | None:
    """Return the next step after ``step`` that has more errors, to the points' precision."""
    more = (step.errors or 0) + 1
    above = step.step
    for point in get_timeline_points(steps, last):
        if point.step > above and (point.errors or 0) >= more:
            return _find_errors(steps, above, point.step, more)
        above = max(above, point.step)
    return None


def _find_errors(steps: StepQuerySet, above: int, up_to: int, count: int) -> int | None:
    found = steps.filter(step__gt=above, step__lte=up_to, error_count__gte=count)
    return found.order_by("step").step_numbers().first()


def _get_points(steps: StepQuerySet, numbers: Sequence[int]) -> list[TimelinePoint]:
    rows = steps.filter(step__in=numbers).order_by("step")
    return [
        TimelinePoint(step=step, bytes=size, errors=errors)
        for step, size, errors in rows.values_list("step", "state_bytes", "error_count")
    ]


def _summarize_all(steps: StepQuerySet) -> list[StepSummary]:
    return [_summarize(row) for row in steps.defer_state()]


def _summarize_first(steps: StepQuerySet) -> StepSummary | None:
    row = steps.defer_state().first()
    return None if row is None else _summarize(row)


def _summarize(row: Step) -> StepSummary:
    return StepSummary(
        step=row.step,
        created_at=row.created_at,
        ran=get_strings(row.ran_nodes),
        skipped=get_strings(row.skipped_nodes),
        frontier=get_strings(row.frontier),
        channels=get_strings(row.updated_channels),
        messages=row.message_count,
        errors=row.error_count,
        bytes=row.state_bytes,
    )
