"""Measures the candidates side by side: calls, bytes, memory, many processes, and where time goes.

Each function is a part of ``benchmarks/performance.py``, runs in a process of its own, and returns
what ``benchmarks/report.py`` prints.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from statistics import median
from typing import Any

from benchmarks import candidates
from benchmarks.candidates import Bare, Candidate, Place
from benchmarks.running import alone, peak, resident
from benchmarks.workloads import SEED, Prose, Workload, conversation, workloads
from weavegraph_checkpoints import Checkpoint, conf, serde
from weavegraph_checkpoints.serde.values import state_document

CALLS_IN_TURN = 100
CHECKED_SESSIONS = 2
READ_SESSIONS = 10
PAGE = 25
LONG_PAGE = 1000
PROCESSES = 8

Works = dict[str, list[Callable[[], Any]]]
"""Per candidate the calls that it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured."""

    servers: tuple[str, ...]
    workloads: str
    rounds: int
    scale: float
    """Below 1, smaller workloads."""
    seconds: float
    """How long the processes save at once."""
    sizes: tuple[int, ...]
    """Steps, of the small and of the large database."""


@contextmanager
def set_up(effort: Effort) -> Iterator[dict[str, Candidate]]:
    """Make the databases, open the candidates, and drop all at the end."""
    with tempfile.TemporaryDirectory(prefix="weavegraph-benchmark-") as folder:
        found = candidates.places(effort.servers, folder)
        measured = candidates.use(found)
        try:
            for candidate in measured.values():
                candidates.create_database(candidate.place.alias)
                candidate.create()
                candidate.open()
            yield measured
        finally:
            for candidate in measured.values():
                candidate.close()
                candidates.drop_database(candidate.place.alias)


# Calls


class Rounds:
    """The candidates take turns at the same work; each call is timed."""

    def __init__(self, measured: dict[str, Candidate]) -> None:
        self.measured = measured
        self.wall: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
        """Per operation and candidate: for each round, seconds of each call."""
        self.processor: dict[tuple[str, str], list[float]] = defaultdict(list)
        """The same, summed."""
        self._turn = 0

    def each(self, operation: str, works: Works) -> None:
        """Let each candidate do its share of an operation, in pieces, in turn."""
        names = list(works)
        gc.collect()
        gc.freeze()
        for name in names:
            self.wall[operation, name].append([])
            self.processor[operation, name].append(0)
        for start in range(0, max(map(len, works.values())), CALLS_IN_TURN):
            self._turn += 1
            first = self._turn % len(names)
            for name in names[first:] + names[:first]:
                self._turn_of(operation, name, works[name][start : start + CALLS_IN_TURN])
        gc.unfreeze()

    def _turn_of(self, operation: str, name: str, calls: Sequence[Callable[[], Any]]) -> None:
        spent = self.wall[operation, name][-1]
        clock = time.perf_counter
        before = time.process_time()
        for call in calls:
            began = clock()
            call()
            spent.append(clock() - began)
        self.processor[operation, name][-1] += time.process_time() - before

    def figures(self) -> dict[str, dict[str, Any]]:
        """Return per operation and candidate the median of each round, and processor times."""
        result: dict[str, dict[str, Any]] = defaultdict(dict)
        for (operation, name), rounds in self.wall.items():
            used = self.processor[operation, name]
            result[operation][name] = {
                "rounds": [median(spent) for spent in rounds],
                "processor": median(
                    total / len(spent) for total, spent in zip(used, rounds, strict=True)
                ),
                "calls": sum(map(len, rounds)),
            }
        return result


def calls(effort: Effort) -> dict[str, Any]:
    """Measure every operation on every workload, and the bytes that (a) takes."""
    result: dict[str, Any] = {"workloads": {}}
    with set_up(effort) as measured:
        result["durability"] = {
            name: candidates.durability(candidate) for name, candidate in measured.items()
        }
        for workload in workloads(effort.scale):
            if workload.key not in effort.workloads:
                continue
            print(f"workload ({workload.key}): {workload.title}", flush=True)
            result["workloads"][workload.key] = _measured(workload, measured, effort.rounds)
    return result


def _measured(workload: Workload, measured: dict[str, Candidate], count: int) -> dict[str, Any]:
    rounds = Rounds(measured)
    sizes: dict[str, int] = {}
    # Recorded runs are many: half the rounds are more calls than the others make.
    for number in range(max(count // 2, 1) if workload.key == "b" else count):
        prefix = f"{workload.key}{number}/"
        before = {name: candidates.bytes_on_disk(each.place) for name, each in measured.items()}
        rounds.each("save", _saves(workload.sessions, measured, prefix, "save"))
        if number == 0:
            sizes = {
                name: candidates.bytes_on_disk(each.place) - before[name]
                for name, each in measured.items()
            }
        _others(workload, rounds, prefix)
    states = [
        len(serde.dumps_state(checkpoint.state))
        for session in workload.sessions
        for checkpoint in session
    ]
    return {
        "title": workload.title,
        "steps": workload.steps,
        "state_bytes": sum(states) / len(states),
        "bytes": sizes,
        "operations": rounds.figures(),
    }


def _saves(
    sessions: Sequence[Sequence[Checkpoint]],
    measured: dict[str, Candidate],
    prefix: str,
    operation: str,
) -> Works:
    return {
        name: [
            partial(getattr(candidate, operation), prepared)
            for session in sessions
            for prepared in candidate.prepared(prefix + session[0].session_id, session)
        ]
        for name, candidate in measured.items()
        if candidate.offers(operation)
    }


def _others(workload: Workload, rounds: Rounds, prefix: str) -> None:
    """Check, read and fork what was saved."""
    measured = rounds.measured
    few = workload.sessions[:CHECKED_SESSIONS]
    rounds.each("save_checked", _saves(few, measured, f"{prefix}checked/", "save_checked"))
    ids = [prefix + session[0].session_id for session in workload.sessions[:READ_SESSIONS]]
    for operation, times, arguments in (
        ("load_latest", 100, ()),
        ("page", 30, (PAGE,)),
        ("page_of_node", 30, (workload.node, PAGE)),
    ):
        asked = (ids * times)[:times]
        works = {
            name: [partial(getattr(each, operation), session, *arguments) for session in asked]
            for name, each in measured.items()
        }
        rounds.each(operation, works)
    if workload.key == "a":
        works = {
            name: [partial(each.fork, source, f"{source}/fork") for source in ids[:3]]
            for name, each in measured.items()
            if each.offers("fork")
        }
        rounds.each("fork", works)


# Memory


def memory(effort: Effort) -> dict[str, Any]:
    """Measure what a page of 1 000 takes above the idle process, each in its own."""
    steps = next(each for each in workloads(1.0) if each.key == "c").sessions[0]
    with set_up(effort) as measured:
        for candidate in measured.values():
            for prepared in candidate.prepared("long", steps):
                candidate.save(prepared)
        return {
            "state_bytes": sum(len(serde.dumps_state(each.state)) for each in steps) / len(steps),
            "bytes": {
                name: alone(_page_memory, candidate.place) for name, candidate in measured.items()
            },
        }


def _page_memory(place: Place) -> int:
    (candidate,) = candidates.use([place]).values()
    candidate.open()
    candidate.page("long", 1)
    idle = max(resident(), peak())
    page = candidate.page("long", LONG_PAGE)
    assert len(page) == LONG_PAGE
    return peak() - idle


# Many processes


def processes(effort: Effort) -> dict[str, Any]:
    """Count how many saves a second 8 processes make into 8 sessions, in turn."""
    context = multiprocessing.get_context("spawn")
    with set_up(effort) as measured:
        places = [candidate.place for candidate in measured.values()]
        pipes = [context.Pipe() for _ in range(PROCESSES)]
        workers = [
            context.Process(target=_saver, args=(number, places, pipe[1]), daemon=True)
            for number, pipe in enumerate(pipes)
        ]
        for worker in workers:
            worker.start()
        ours = [pipe[0] for pipe in pipes]
        for connection in ours:
            connection.recv()
        rates: dict[str, list[float]] = {name: [] for name in measured}
        for number in range(effort.rounds):
            for name in measured:
                for connection in ours:
                    connection.send((name, number, effort.seconds))
                for connection in ours:
                    connection.recv()
                for connection in ours:
                    connection.send("go")
                rates[name].append(sum(connection.recv() for connection in ours))
        for connection in ours:
            connection.send(None)
        for worker in workers:
            worker.join()
    return {"rates": rates, "processes": PROCESSES, "seconds": effort.seconds}


def _saver(number: int, places: list[Place], pipe: Any) -> None:
    measured = candidates.use(places)
    steps = conversation("run", 100, 2, 134, Prose(random.Random(SEED + number)))
    for candidate in measured.values():
        candidate.open()
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        name, turn, seconds = order
        candidate = measured[name]
        sessions = (
            candidate.prepared(f"process-{number}/{turn}/{again}", steps) for again in count()
        )
        saves = chain.from_iterable(sessions)
        candidate.save(next(saves))
        pipe.send("ready")
        pipe.recv()
        pipe.send(_rate(candidate, saves, seconds))
    for candidate in measured.values():
        candidate.close()


def _rate(candidate: Candidate, saves: Iterator[Any], seconds: float) -> float:
    saved, began = 0, time.perf_counter()
    spent = 0.0
    while spent < seconds:
        candidate.save(next(saves))
        saved += 1
        spent = time.perf_counter() - began
    return saved / spent


# Where the time of a save goes


def breakdown(effort: Effort) -> dict[str, Any]:
    """Take a save apart: checks and JSON, Django, trigger, commit, and the rest."""
    steps = next(each for each in workloads(effort.scale) if each.key == "a").sessions
    result = {}
    with set_up(effort) as measured:
        for server in effort.servers:
            by_kind = {
                each.place.kind: each for each in measured.values() if each.place.server == server
            }
            app, bare = by_kind["app"], by_kind["bare"]
            assert isinstance(bare, Bare)
            result[server] = _parts(app, bare, steps, effort.rounds)
    return result


def _parts(app: Candidate, bare: Bare, steps: Any, rounds: int) -> dict[str, float]:
    from weavegraph_checkpoints import triggers
    from weavegraph_checkpoints.backends.rows import StepRow

    times: dict[str, list[float]] = defaultdict(list)
    variants = ["bare", "bare without trigger"]
    if bare.place.server != "MariaDB":
        variants.append("bare without trigger and fsync")
    for number, session in ((number, each) for number in range(rounds) for each in steps):
        for variant in variants:
            if "without trigger" in variant:
                triggers.remove(using=bare.place.alias)
            with bare.without_fsync() if "fsync" in variant else nullcontext():
                times[variant] += _spent(bare, session, f"{variant} {number}/")
            triggers.install(using=bare.place.alias)
        times["app"] += _spent(app, session, f"{number}/")
        for checkpoint in session:
            began = time.perf_counter()
            StepRow.from_checkpoint(checkpoint, conf.max_state_bytes())
            row = time.perf_counter()
            bare.encode(state_document(checkpoint.state)).decode()
            times["row"].append(row - began)
            times["encode"].append(time.perf_counter() - row)
    return {name: median(calls) for name, calls in times.items()}


def _spent(candidate: Candidate, session: Sequence[Checkpoint], prefix: str) -> list[float]:
    spent = []
    for each in candidate.prepared(prefix + session[0].session_id, session):
        began = time.perf_counter()
        candidate.save(each)
        spent.append(time.perf_counter() - began)
    return spent
