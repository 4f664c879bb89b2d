from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavegraph_checkpoints.admin.presenters.timeline import (
    StepDelta,
    StepSummary,
    build_step_deltas,
)
from weavegraph_checkpoints.admin.presenters.weave import MAX_NODES, build_weave

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_step(step: int, *, at: float | None = None, **fields: Any) -> StepSummary:
    small: dict[str, Any] = {
        "created_at": START + timedelta(seconds=step if at is None else at),
        "ran": (),
        "skipped": (),
        "frontier": (),
        "channels": (),
        "messages": 0,
        "errors": 0,
        "bytes": 0,
    }
    return StepSummary(step=step, **(small | fields))


def build_deltas(*oldest_first: StepSummary) -> list[StepDelta]:
    newest_first = list(reversed(oldest_first))
    return list(reversed(list(build_step_deltas(newest_first, len(newest_first)))))


def test_nodes_are_sorted_by_first_appearance() -> None:
    weave = build_weave(
        build_deltas(
            a_step(0, ran=("Start",), frontier=("Custom:b", "Custom:a")),
            a_step(1, ran=("Custom:b",), skipped=("Custom:c",), frontier=("End",)),
        )
    )
    assert [row.node for row in weave.rows] == ["Start", "Custom:b", "Custom:a", "Custom:c", "End"]
    assert [column.step for column in weave.columns] == [0, 1]
    assert weave.hidden == 0


def test_a_cell_shows_what_the_node_did() -> None:
    (row,) = build_weave(
        build_deltas(
            a_step(1, ran=("Custom:a",), frontier=("Custom:a",)),
            a_step(2, skipped=("Custom:a",)),
            a_step(3),
        )
    ).rows
    assert row.cells == ((True, False, True), (False, True, False), (False, False, False))


def test_a_step_with_new_errors_is_marked() -> None:
    weave = build_weave(
        build_deltas(
            a_step(1, errors=1),
            a_step(2, errors=1),
            a_step(3, errors=2),
            a_step(4, errors=None),
        )
    )
    assert [column.has_new_errors for column in weave.columns] == [False, False, True, False]
    assert weave.has_errors


def test_a_gap_of_more_than_ten_times_the_median_is_marked() -> None:
    weave = build_weave(
        build_deltas(*[a_step(step, at=at) for step, at in enumerate([0, 1, 2, 12, 22.5, 23])])
    )
    assert [column.gap for column in weave.columns] == ["", "", "", "", "10.5 s", ""]
    assert weave.has_gaps


def test_steps_saved_at_the_same_time_have_no_gaps() -> None:
    weave = build_weave(
        build_deltas(*[a_step(step, at=at) for step, at in enumerate([0, 0, 0, 9])])
    )
    assert not weave.has_gaps


def test_only_the_most_active_nodes_are_shown() -> None:
    busy = [a_step(step, ran=("Custom:last",)) for step in range(1, 4)]
    crowd = a_step(0, ran=tuple(f"Custom:{number}" for number in range(60)))
    weave = build_weave(build_deltas(crowd, *busy))
    assert len(weave.rows) == MAX_NODES
    assert weave.rows[-1].node == "Custom:last"
    assert (weave.node_count, weave.hidden) == (61, 21)
    assert build_weave(build_deltas(crowd, *busy), max_nodes=None).hidden == 0


def test_no_steps_make_an_empty_weave() -> None:
    weave = build_weave([])
    assert (weave.columns, weave.rows, weave.hidden, weave.has_gaps) == ((), (), 0, False)


@pytest.mark.parametrize(("last", "is_long"), [(99, False), (100, True)])
def test_long_step_numbers_are_vertical(last: int, is_long: bool) -> None:
    assert build_weave(build_deltas(a_step(98), a_step(last))).has_long_numbers is is_long


names = st.lists(st.sampled_from([f"Custom:{letter}" for letter in "abcdef"]), max_size=4)


@given(parts=st.lists(st.tuples(names, names, names), max_size=8))
def test_every_node_of_every_step_has_a_cell(
    parts: list[tuple[list[str], list[str], list[str]]],
) -> None:
    records = [
        a_step(step, ran=tuple(ran), skipped=tuple(skipped), frontier=tuple(frontier))
        for step, (ran, skipped, frontier) in enumerate(parts)
    ]
    weave = build_weave(build_deltas(*records))
    for row in weave.rows:
        for cell, record in zip(row.cells, records, strict=True):
            assert cell.ran == (row.node in record.ran)
            assert cell.skipped == (row.node in record.skipped)
            assert cell.next == (row.node in record.frontier)
    assert {row.node for row in weave.rows} == {
        node for record in records for node in (*record.ran, *record.skipped, *record.frontier)
    }
