from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.test_weave import a_step
from weavegraph_checkpoints.admin.presenters.timeline import (
    HEIGHT,
    MAX_POINTS,
    WIDTH,
    TimelinePoint,
    bracket_error_increase,
    build_step_deltas,
    build_timeline,
    get_evenly_spaced,
)


def a_point(step: int, size: int | None = 0, errors: int | None = 0) -> TimelinePoint:
    return TimelinePoint(step=step, bytes=size, errors=errors)


@given(first=st.integers(0, 2**63 - 1), span=st.integers(0, 10**7))
def test_evenly_spaced_steps_include_both_ends(first: int, span: int) -> None:
    steps = get_evenly_spaced(first, first + span)
    assert len(steps) == min(span + 1, MAX_POINTS)
    assert (steps[0], steps[-1]) == (first, first + span)
    distances = {after - before for before, after in pairwise(steps)}
    assert not distances or max(distances) - min(distances) <= 1
    assert 0 not in distances


def test_a_step_is_compared_with_the_previous_step() -> None:
    newest_first = [
        a_step(9, at=10, messages=5, errors=1, bytes=70),
        a_step(7, at=4, messages=3, errors=1, bytes=90),
        a_step(2, at=1, messages=None, errors=0, bytes=None),
    ]
    newest, middle = build_step_deltas(newest_first, 2)
    assert (newest.since, newest.message_delta, newest.error_delta, newest.size_delta) == (
        timedelta(seconds=6),
        2,
        0,
        -20,
    )
    assert (middle.since, middle.message_delta, middle.error_delta, middle.size_delta) == (
        timedelta(seconds=3),
        None,
        1,
        None,
    )


def test_the_first_step_has_no_differences() -> None:
    (only,) = build_step_deltas([a_step(0)], 50)
    assert (only.since, only.message_delta, only.error_delta, only.size_delta) == (None,) * 4
    assert not only.is_late


def test_a_step_saved_after_the_next_step_is_late() -> None:
    newest, late = build_step_deltas([a_step(2, at=5), a_step(1, at=8)], 50)
    assert late.is_late
    assert not newest.is_late
    assert newest.since == timedelta(seconds=-3)


def test_the_polyline_fills_the_chart() -> None:
    timeline = build_timeline([a_point(10, 50), a_point(20, 200), a_point(30, 100)])
    assert timeline is not None
    assert timeline.polyline == f"0.0,75.0 {WIDTH / 2:.1f},0.0 {WIDTH:.1f},50.0"
    assert [timeline.first.step, timeline.largest.step, timeline.last.step] == [10, 20, 30]
    assert HEIGHT == 100


@pytest.mark.parametrize("sizes", [[], [5], [5, None], [None, None]])
def test_fewer_than_two_sizes_have_no_timeline(sizes: list[int | None]) -> None:
    assert build_timeline([a_point(step, size) for step, size in enumerate(sizes)]) is None


def test_the_polyline_of_empty_states_is_at_the_bottom() -> None:
    timeline = build_timeline([a_point(0, 0), a_point(1, 0)])
    assert timeline is not None
    assert timeline.polyline == f"0.0,100.0 {WIDTH:.1f},100.0"


@pytest.mark.parametrize(
    ("errors", "count", "expected"),
    [
        ([0, 0, 1, 1, 2], 2, (3, 4)),
        ([0, 0, 1, 1, 2], 1, (1, 2)),
        ([1, 1, 1], 1, (-1, 0)),
        ([0, 2, 0, 2, 2], 2, (2, 3)),
        ([0, None, 1], 1, (1, 2)),
        ([0, 0], 1, None),
        ([], 1, None),
    ],
)
def test_an_error_increase_is_between_two_steps(
    errors: list[int | None], count: int, expected: tuple[int, int] | None
) -> None:
    points = [a_point(step, 0, number) for step, number in enumerate(errors)]
    assert bracket_error_increase(points, count) == expected
