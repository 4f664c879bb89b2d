"""Compare states stored as changes with whole states, and with LangGraph's checkpointers."""

from __future__ import annotations

import gc
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

from django.conf import settings
from django.db import connections

from benchmarks import harness
from benchmarks.candidates import App, get_bytes_on_disk, get_log_bytes, open_candidates
from benchmarks.harness import RESULTS, ROOT, Databases, format_table, time_call
from benchmarks.histories_report import (
    OURS,
    WHOLE,
    Cell,
    Growing,
    Measured,
    Results,
    Timings,
    format_growing,
    format_rows,
    plot_growing,
)
from benchmarks.langgraph import LangGraphPostgres, LangGraphSqlite
from benchmarks.workloads import SEED, Prose, build_histories, build_steps
from weavegraph_checkpoints import Checkpoint

STEPS_PER_TURN = 50
READS = 60
PAGE_SIZE = 25
PROCESSES, STEPS_EACH = 8, 600
LAST_STEPS = 150
"""Of a history too long for it, a candidate that stores whole states saves only the last steps."""
READS_OF_APP = {
    "load latest, warm": ("load_latest", False),
    "load latest, cold": ("load_latest", True),
    "page of 25, warm": ("page", False),
    "page of 25, cold": ("page", True),
}


class Changes(App):
    """This app with its default: states of 4 kB and more are stored as changes."""

    title = OURS
    changes_from_bytes: int | None = 4096

    def begin(self) -> None:
        settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": self.changes_from_bytes}


class Whole(Changes):
    """This app with ``CHANGES_FROM_BYTES = None``: every state is stored whole."""

    title = WHOLE
    changes_from_bytes = None


CANDIDATES = (Changes, Whole, LangGraphSqlite, LangGraphPostgres)


def build_candidates(server: str) -> dict[str, Any]:
    """Return the candidates of a server by name."""
    return {
        each.title: each(server, f"history{number}")
        for number, each in enumerate(CANDIDATES)
        if server in each.servers
    }


def measure_histories(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure saves, reads and bytes of long histories of each shape on each server."""
    measured = {server: harness.run_alone(_measure_server, server, quick) for server in servers}
    growing = {server: results.growing for server, results in measured.items()}
    sections = (f"### {server}\n\n{results.table}" for server, results in measured.items())
    return {
        RESULTS: "\n\n".join(sections),
        ROOT / "README.md": format_growing(growing, with_whole=False),
        ROOT / "docs" / "performance.md": format_growing(growing, with_whole=True),
        **plot_growing(growing),
    }


def _measure_server(server: str, quick: bool) -> Results:
    scale = 0.1 if quick else 1.0
    rows: list[list[str]] = []
    growing: Growing = {}
    with open_candidates(build_candidates(server)) as candidates:
        for history in build_histories(scale):
            print(f"{server}: {history.title}", flush=True)
            sessions = list(history.sessions)
            measured = _measure_history(sessions, candidates, whole=history.is_short)
            if history.key == "growing":
                session_id, steps = sessions[0][0].session_id, len(sessions[0])
                measured.memory = _measure_memory(candidates, session_id)
                growing[steps] = measured
            rows += format_rows(history.title, measured)
        steps = int(STEPS_EACH * scale)
        measured = Measured({"save": _measure_processes(candidates, steps)})
        rows += format_rows(f"{PROCESSES} processes × {steps} steps", measured)
        heads = ["shape", "operation", *candidates, *(f"× {name}" for name in candidates)]
    heads = [head for head in heads if head != f"× {OURS}"]
    return Results(format_table(heads, rows, texts=2), growing)


def _measure_history(
    sessions: list[list[Checkpoint]], candidates: Mapping[str, Any], *, whole: bool
) -> Measured:
    """Save the sessions with each candidate in turns, then read them in random order."""
    before = {name: get_bytes_on_disk(each) for name, each in candidates.items()}
    seconds: dict[str, list[float]] = defaultdict(list)
    saved, logged = dict.fromkeys(candidates, 0), dict.fromkeys(candidates, 0)
    for session in sessions:
        _save_in_turns(session, candidates, seconds, saved, logged, whole=whole)
    sizes = {
        name: (get_bytes_on_disk(each) - before[name]) / saved[name]
        for name, each in candidates.items()
        if saved[name] == sum(map(len, sessions))
    }
    logs = {name: size / saved[name] for name, size in logged.items() if size}
    last = min(map(len, seconds.values()))
    timings: Timings = {"save": {name: _summarize(each[-last:]) for name, each in seconds.items()}}
    if whole:
        tenth = max(1, last // 10)
        timings["save, last tenth"] = {
            name: _summarize(each[-tenth:]) for name, each in seconds.items()
        }
    ids = [session[0].session_id for session in sessions[:10]]
    for operation, (name, is_cold) in READS_OF_APP.items():
        timings[operation] = _read_in_turns(candidates, ids, name, is_cold=is_cold)
    return Measured(timings, sizes, logs)


def _save_in_turns(
    session: list[Checkpoint],
    candidates: Mapping[str, Any],
    seconds: dict[str, list[float]],
    saved: dict[str, int],
    logged: dict[str, int],
    *,
    whole: bool,
) -> None:
    session_id = session[0].session_id
    calls: dict[str, Iterator[Any]] = {}
    for name, candidate in candidates.items():
        is_long = not whole and type(candidate) is not Changes
        prepared = candidate.prepare(session_id, session[-LAST_STEPS:] if is_long else session)
        saved[name] += len(prepared)
        calls[name] = iter(prepared)
    gc.collect()
    gc.freeze()
    turns = 0
    while calls:
        names = list(calls)
        first = turns % len(names)
        for name in names[first:] + names[:first]:
            candidate = candidates[name]
            _begin(candidate)
            turn = list(islice(calls[name], STEPS_PER_TURN))
            before = get_log_bytes(candidate) or 0
            seconds[name] += [time_call(partial(candidate.save, each)) for each in turn]
            logged[name] += (get_log_bytes(candidate) or 0) - before
            if len(turn) < STEPS_PER_TURN:
                del calls[name]
        turns += 1
    gc.unfreeze()


def _begin(candidate: Any) -> None:
    if isinstance(candidate, Changes):
        candidate.begin()


def _read_in_turns(
    candidates: Mapping[str, Any], ids: Sequence[str], operation: str, *, is_cold: bool
) -> dict[str, Cell]:
    """Read in strict alternation, in random order: a read depends on what was read before it."""
    from weavegraph_checkpoints.backends.chains import memory

    generator = random.Random(SEED)
    seconds: dict[str, list[float]] = defaultdict(list)
    arguments = () if operation == "load_latest" else (PAGE_SIZE,)
    for number in range(READS):
        for name in generator.sample(list(candidates), len(candidates)):
            candidate = candidates[name]
            call = partial(getattr(candidate, operation), ids[number % len(ids)], *arguments)
            _begin(candidate)
            if is_cold:
                memory.clear()
            elif number < len(ids):
                call()
            seconds[name].append(time_call(call))
    return {name: _summarize(each) for name, each in seconds.items()}


def _summarize(seconds: Sequence[float]) -> Cell:
    return Cell(median(seconds), mean(seconds))


# Processes


def _measure_processes(candidates: Mapping[str, Any], steps: int) -> dict[str, Cell]:
    """Return the seconds a save of processes that each save a session of their own."""
    taken = {}
    for name, candidate in candidates.items():
        databases = {candidate.alias: connections[candidate.alias].settings_dict}
        with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            work = partial(_save_alone, type(candidate), candidate.server, databases, steps)
            spans = list(pool.map(work, range(PROCESSES)))
        began, ended = min(span[0] for span in spans), max(span[1] for span in spans)
        seconds = (ended - began) / (PROCESSES * steps)
        taken[name] = Cell(seconds, seconds)
    return taken


def _save_alone(
    kind: type[Any], server: str, databases: Databases, steps: int, number: int
) -> tuple[float, float]:
    candidate = _open_alone(kind, server, databases)
    prose = Prose(random.Random(number))
    checkpoints = build_steps(f"process-{number}", steps, 2, 134, prose)
    prepared = candidate.prepare(f"process-{number}", checkpoints)
    # All processes begin together.
    time.sleep(max(0.0, 10 - time.monotonic() % 10))
    began = time.monotonic()
    for each in prepared:
        candidate.save(each)
    ended = time.monotonic()
    candidate.close()
    return began, ended


def _measure_memory(candidates: Mapping[str, Any], session_id: str) -> dict[str, float]:
    """Return how many bytes more than before a fresh process holds while it reads a page."""
    taken = {}
    for name, candidate in candidates.items():
        databases = {candidate.alias: connections[candidate.alias].settings_dict}
        taken[name] = harness.run_alone(
            _read_alone, type(candidate), candidate.server, databases, session_id
        )
    return taken


def _read_alone(kind: type[Any], server: str, databases: Databases, session_id: str) -> float:
    candidate = _open_alone(kind, server, databases)
    candidate.page(session_id, 1)
    idle = harness.get_resident_memory()
    candidate.page(session_id, PAGE_SIZE)
    return max(harness.get_peak_memory() - idle, 1)


def _open_alone(kind: type[Any], server: str, databases: Databases) -> Any:
    (alias,) = databases
    harness.configure({alias: databases[alias]})
    candidate = kind(server, alias)
    candidate.open()
    _begin(candidate)
    return candidate
