"""Compare this app with LangGraph's checkpointers and with the bare database drivers."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks import harness
from benchmarks.candidates import SERVERS, App, Bare, get_bytes_on_disk, open_candidates
from benchmarks.harness import RESULTS, ROOT, format_ms, format_table
from benchmarks.langgraph import (
    LangGraphPipeline,
    LangGraphPool,
    LangGraphPostgres,
    LangGraphSqlite,
)
from benchmarks.workloads import Workload, build_workloads
from weavegraph_checkpoints import Checkpoint, serde

CALLS_PER_TURN = 100
CHECKED_SESSIONS = 2
READ_SESSIONS = 10
PAGE_SIZE = 25
OPERATIONS = {
    "save": "save",
    "save_checked": "save with check",
    "load_latest": "load latest",
    "page": "page of 25",
    "page_of_node": "page of 25 of a node",
    "fork": "fork of 100 steps",
}
CANDIDATES: tuple[type[Any], ...] = (
    *(App, Bare),
    *(LangGraphSqlite, LangGraphPostgres, LangGraphPipeline, LangGraphPool),
)


def build_candidates(servers: Sequence[str]) -> dict[str, Any]:
    """Return the candidates of each server by name."""
    pairs = [(each, server) for server in servers for each in CANDIDATES if server in each.servers]
    candidates = [candidate(server) for candidate, server in pairs]
    return {each.name: each for each in candidates}


APP_NAMES = {name: f"this app ({each.server})" for name, each in build_candidates(SERVERS).items()}
"""Per candidate the one that it is compared with."""


# Calls

Calls = dict[str, list[Callable[[], Any]]]
"""The calls of each candidate."""
Rounds = Mapping[str, Sequence[float]]
"""By candidate: for each round, the median seconds of its calls."""
Timings = Mapping[str, Rounds]
"""By operation."""


class Stopwatch:
    """Times each call while the candidates take turns."""

    def __init__(self) -> None:
        self.timings: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._turn = 0

    def run_round(self, operation: str, calls: Calls) -> None:
        """Run a round of an operation: up to 100 calls of each candidate at a time."""
        names = list(calls)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        gc.collect()
        gc.freeze()
        for start in range(0, max(map(len, calls.values())), CALLS_PER_TURN):
            self._turn += 1
            first = self._turn % len(names)
            for name in names[first:] + names[:first]:
                _time_calls(calls[name][start : start + CALLS_PER_TURN], seconds[name])
        gc.unfreeze()
        for name in names:
            self.timings[operation][name].append(median(seconds[name]))


def _time_calls(calls: Sequence[Callable[[], Any]], seconds: list[float]) -> None:
    clock = time.perf_counter
    for call in calls:
        began = clock()
        call()
        seconds.append(clock() - began)


def measure_calls(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure every operation on every workload, and the bytes that a workload takes."""
    sections, timings = [], {}
    rounds, scale = (2, 0.1) if quick else (5, 1.0)
    with open_candidates(build_candidates(servers)) as candidates:
        for workload in build_workloads(scale):
            print(f"workload ({workload.key}): {workload.title}", flush=True)
            # (b) has more calls in two rounds than the others in five.
            number = max(rounds // 2, 1) if workload.key == "b" else rounds
            timings[workload.key], sizes = _measure_workload(workload, candidates, number)
            sections.append(format_workload(workload, timings[workload.key], sizes))
    return {RESULTS: "\n\n".join(sections), **format_summaries(timings["a"])}


def _measure_workload(
    workload: Workload, candidates: dict[str, Any], rounds: int
) -> tuple[Timings, dict[str, int]]:
    stopwatch = Stopwatch()
    sizes: dict[str, int] = {}
    for number in range(rounds):
        prefix = f"{workload.key}{number}/"
        before = {name: get_bytes_on_disk(each) for name, each in candidates.items()}
        stopwatch.run_round("save", _build_saves(workload.sessions, candidates, prefix, "save"))
        if number == 0:
            sizes = {
                name: get_bytes_on_disk(each) - before[name] for name, each in candidates.items()
            }
        few = workload.sessions[:CHECKED_SESSIONS]
        saves = _build_saves(few, candidates, f"{prefix}checked/", "save_checked")
        stopwatch.run_round("save_checked", saves)
        ids = [prefix + session[0].session_id for session in workload.sessions[:READ_SESSIONS]]
        for operation, repeats, arguments in (
            ("load_latest", 100, ()),
            ("page", 30, (PAGE_SIZE,)),
            ("page_of_node", 30, (workload.node, PAGE_SIZE)),
        ):
            asked = (ids * repeats)[:repeats]
            calls = {
                name: [partial(getattr(each, operation), session, *arguments) for session in asked]
                for name, each in candidates.items()
            }
            stopwatch.run_round(operation, calls)
        if workload.key == "a":
            calls = {
                name: [partial(each.fork, source, f"{source}/fork") for source in ids[:3]]
                for name, each in candidates.items()
                if hasattr(each, "fork")
            }
            stopwatch.run_round("fork", calls)
    return stopwatch.timings, sizes


def _build_saves(
    sessions: Sequence[Sequence[Checkpoint]],
    candidates: dict[str, Any],
    prefix: str,
    operation: str,
) -> Calls:
    return {
        name: [
            partial(getattr(candidate, operation), prepared)
            for session in sessions
            for prepared in candidate.prepare(prefix + session[0].session_id, session)
        ]
        for name, candidate in candidates.items()
        if hasattr(candidate, operation)
    }


# Reports


def format_cell(rounds: Rounds, name: str, spread: bool) -> str:
    """Return the median in ms, the minimum and maximum, and its ratio to this app's median."""
    if name not in rounds:
        return "–"
    middle, least, most = (format_ms(f(rounds[name])) for f in (median, min, max))
    parts, app = [middle], APP_NAMES[name]
    if spread:
        parts.append(f"({least}–{most})")
    if name != app and app in rounds:
        parts.append(f"×{median(rounds[name]) / median(rounds[app]):.2f}")
    return " ".join(parts)


def format_timings(
    timings: Timings, names: Iterable[str], sizes: Mapping[str, int] | None = None
) -> str:
    """Return a table of candidates and operations, in full if the sizes are given too."""
    heads = ["ms per call", *(OPERATIONS[each] for each in timings)]
    rows = [
        [name, *(format_cell(rounds, name, sizes is not None) for rounds in timings.values())]
        for name in names
    ]
    if sizes is not None:
        heads.append("MB on disk")
        rows = [[*row, f"{sizes[row[0]] / 1e6:.1f}"] for row in rows]
    return format_table(heads, rows)


def format_workload(workload: Workload, timings: Timings, sizes: Mapping[str, int]) -> str:
    """Return the section of a workload."""
    states = [len(serde.dumps_state(step.state)) for each in workload.sessions for step in each]
    return (
        f"### ({workload.key}) {workload.title}\n\n{len(states):,} steps,"
        f" {mean(states) / 1000:.1f} kB per state on average.\n\n"
        + format_timings(timings, sizes, sizes)
    )


def format_summaries(timings: Timings) -> dict[Path, str]:
    """Return the tables of the README and of docs/performance.md, and the plot."""
    names = list(timings["save"])
    short = [name for name in names if "bare" not in name and "," not in name]
    plotted = {OPERATIONS[each]: timings[each] for each in ("save", "load_latest", "page")}
    return {
        ROOT / "README.md": format_timings(timings, short),
        ROOT / "docs" / "performance.md": format_timings(timings, names),
        ROOT / "docs" / "images" / "performance.svg": harness.plot_bars(
            "Milliseconds per call, medians", plotted
        ),
    }
