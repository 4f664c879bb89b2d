"""The runner: supersteps, barriers, skipped nodes, and resumption after any crash."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from msgspec.structs import replace

from example_project.audit import runner
from example_project.audit.graph import AUDIT, Graph, Node, expected_last_step
from example_project.audit.runner import run
from example_project.audit.summary import history, is_complete, same_findings
from example_project.audit.task import Result, Task
from tests.assertions import assert_same
from tests.example.conftest import outline
from weavegraph_checkpoints import Checkpoint, ConcurrencyConflict, Message, NodeKind
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

LAST = expected_last_step(3)
FIRST, SECOND = NodeKind.custom("first"), NodeKind.custom("second")


class Crash(Exception):
    """Stands for the death of the process."""


class CrashingCheckpointer(DjangoCheckpointer):
    """Dies right before or right after it saves a certain step."""

    def __init__(self, step: int, moment: str) -> None:
        super().__init__()
        self.step, self.moment = step, moment

    def save_with_concurrency_check(self, checkpoint: Checkpoint, expected: int | None) -> None:
        if (checkpoint.step, "before") == (self.step, self.moment):
            raise Crash
        super().save_with_concurrency_check(checkpoint, expected)
        if (checkpoint.step, "after") == (self.step, self.moment):
            raise Crash


def finish(session_id: str, graph: Graph = AUDIT) -> list[Checkpoint]:
    """Run a session to its end, and return what the database holds of it."""
    list(run(session_id, graph, DjangoCheckpointer()))
    return history(DjangoCheckpointer(), session_id)


def graph_of(*, reads: tuple[str, ...] = ("messages",), **work: Any) -> Graph:
    """Return a graph of two nodes side by side, the first of which leads on to the second."""

    def successors(node: NodeKind, state: Any) -> tuple[NodeKind, ...]:
        return (FIRST, SECOND) if node.is_start else (SECOND,) if node == FIRST else (NodeKind.END,)

    nodes = {
        FIRST: Node(run=work["first"], reads=reads),
        SECOND: Node(run=work["second"], reads=reads),
    }
    return Graph(nodes=nodes, successors=successors)


def says(text: str) -> Any:
    """Return a node that says something."""
    return lambda task: Result(messages=[Message.assistant(text)])


def test_it_fits_on_a_few_pages() -> None:
    assert len(Path(runner.__file__).read_text().splitlines()) < 200


@pytest.mark.django_db
class TestResumption:
    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("step", range(LAST + 1))
    def test_a_crash_at_any_step_changes_nothing(self, three: Path, step: int, moment: str) -> None:
        whole = finish("whole")
        with pytest.raises(Crash):
            list(run("crashed", AUDIT, CrashingCheckpointer(step, moment)))
        saved = history(DjangoCheckpointer(), "crashed")
        assert len(saved) == step + (moment == "after")
        resumed = finish("crashed")
        assert resumed[: len(saved)] == saved
        for checkpoint, expected in zip(resumed, whole, strict=True):
            assert_same(outline(checkpoint), outline(expected))

    def test_a_crash_at_every_step_changes_nothing(self, three: Path) -> None:
        for step in range(LAST + 1):
            for moment in ("before", "after"):
                with pytest.raises(Crash):
                    list(run("crashed", AUDIT, CrashingCheckpointer(step, moment)))
        crashed, whole = finish("crashed"), finish("whole")
        assert is_complete(crashed)
        assert same_findings(crashed[-1], whole[-1])

    def test_a_fork_at_any_step_ends_alike(self, three: Path) -> None:
        whole = finish("whole")
        for step in range(LAST + 1):
            DjangoCheckpointer().fork_session("whole", f"fork-{step}", at_step=step)
            forked = finish(f"fork-{step}")
            assert [outline(one) for one in forked] == [outline(one) for one in whole]

    def test_a_finished_session_does_nothing_more(self, three: Path) -> None:
        finish("whole")
        assert list(run("whole", AUDIT, DjangoCheckpointer())) == []

    def test_what_it_gives_is_what_is_saved(self, three: Path) -> None:
        given = list(run("whole", AUDIT, DjangoCheckpointer(), request="Look!"))
        assert [one.step for one in given] == list(range(LAST + 1))
        assert_same(given, history(DjangoCheckpointer(), "whole"))
        assert given[0].state.messages.items == (Message.user("Look!"),)
        assert {one.concurrency_limit for one in given} == {3}


@pytest.mark.django_db
class TestSupersteps:
    def test_a_node_is_skipped_exactly_when_it_has_nothing_new_to_read(self, three: Path) -> None:
        steps = finish("whole")
        last_ran: dict[NodeKind, int] = {}
        skipped = 0
        for previous, checkpoint in pairwise(steps):
            due, idle = [], []
            for node in previous.frontier:
                since = steps[last_ran[node] : checkpoint.step] if node in last_ran else None
                news = since is None or any(
                    channel in one.updated_channels
                    for one in since
                    for channel in AUDIT.nodes[node].reads
                )
                (due if news else idle).append(node)
            assert (list(checkpoint.ran_nodes), list(checkpoint.skipped_nodes)) == (due, idle)
            last_ran |= dict.fromkeys(due, checkpoint.step)
            skipped += len(idle)
        assert skipped > 0

    def test_versions_rise_by_one_where_a_channel_changed(self, three: Path) -> None:
        steps = finish("whole")
        for previous, checkpoint in pairwise(steps):
            for name in ("messages", "extra", "errors"):
                before, after = getattr(previous.state, name), getattr(checkpoint.state, name)
                changed = name in checkpoint.updated_channels
                assert after.version == before.version + changed
                assert (replace(after, version=before.version) != before) is changed

    def test_the_nodes_of_a_frontier_run_side_by_side(self) -> None:
        meeting = threading.Barrier(2, timeout=30)

        def meet(task: Task) -> Result:
            meeting.wait()
            return Result(messages=[Message.assistant(str(task.node))])

        graph = graph_of(first=meet, second=meet, reads=())
        checkpoints = run("s", graph, DjangoCheckpointer())
        next(checkpoints)
        assert next(checkpoints).ran_nodes == (FIRST, SECOND)

    def test_results_merge_in_the_order_of_the_frontier(self) -> None:
        def slow(task: Task) -> Result:
            time.sleep(0.1)
            return Result(messages=[Message.assistant("slow")], extra={"key": 1})

        def fast(task: Task) -> Result:
            return Result(messages=[Message.assistant("fast")], extra={"key": 2})

        last = finish("s", graph_of(first=slow, second=fast, reads=()))[-1]
        assert [one.content for one in last.state.messages.items[1:]] == ["slow", "fast"]
        assert last.state.extra.map == {"key": 2}

    def test_a_skipped_node_does_not_lead_on(self) -> None:
        steps = finish("s", graph_of(first=says("a"), second=says("b"), reads=()))
        assert [(one.ran_nodes, one.skipped_nodes) for one in steps] == [
            ((), ()),
            ((FIRST, SECOND), ()),
            ((), (SECOND,)),
        ]
        assert steps[-1].frontier == ()

    def test_a_node_sees_what_was_there_before_its_barrier(self) -> None:
        steps = finish("s", graph_of(first=says("a"), second=says("b")))
        assert [one.ran_nodes for one in steps] == [(), (FIRST, SECOND), (SECOND,)]
        assert steps[1].state.messages.version == 2
        assert steps[1].versions_seen == {
            "Custom:first": {"messages": 1},
            "Custom:second": {"messages": 1},
        }
        assert steps[2].versions_seen["Custom:second"] == {"messages": 2}

    def test_end_counts_only_when_nothing_else_is_next(self) -> None:
        steps = finish("s", graph_of(first=says("a"), second=says("b")))
        assert [one.frontier for one in steps[1:]] == [(SECOND,), (NodeKind.END,)]

    def test_a_node_that_raises_leaves_the_last_barrier(self) -> None:
        def fails(task: Task) -> Result:
            raise Crash

        with pytest.raises(Crash):
            finish("s", graph_of(first=says("lost"), second=fails))
        assert [one.step for one in history(DjangoCheckpointer(), "s")] == [0]
        again = finish("s", graph_of(first=says("kept"), second=says("too")))
        assert [one.content for one in again[1].state.messages.items[1:]] == ["kept", "too"]


class TestTwoRunners:
    @pytest.mark.django_db
    def test_the_one_that_saves_second_gets_a_conflict(self, three: Path) -> None:
        checkpointer = DjangoCheckpointer()
        one = run("s", AUDIT, checkpointer)
        next(one)
        next(one)
        other = run("s", AUDIT, checkpointer)
        assert next(other).step == 2
        with pytest.raises(ConcurrencyConflict) as conflict:
            next(one)
        assert (conflict.value.expected, conflict.value.actual) == (1, 2)
        assert next(other).step == 3

    @pytest.mark.django_db(transaction=True)
    def test_of_a_race_one_goes_on(self, three: Path) -> None:
        start = threading.Barrier(3, timeout=60)

        class Starter(DjangoCheckpointer):
            def load_latest(self, session_id: str) -> Checkpoint | None:
                latest = super().load_latest(session_id)
                start.wait()
                return latest

        def race() -> int | None:
            try:
                return list(run("s", AUDIT, Starter()))[-1].step
            except ConcurrencyConflict:
                return None
            finally:
                connections.close_all()

        with ThreadPoolExecutor(3) as threads:
            ends = [runner.result() for runner in [threads.submit(race) for _ in range(3)]]
        assert sorted(ends, key=str) == [LAST, None, None]
        raced = history(DjangoCheckpointer(), "s")
        assert is_complete(raced)
        assert same_findings(raced[-1], finish("alone")[-1])
