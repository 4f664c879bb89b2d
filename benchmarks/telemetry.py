"""Measure calls without OpenTelemetry, with its API alone, and with its SDK.

Each is a process, in which it takes turns with the code as it was before telemetry.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from django.db import connections

from benchmarks import harness
from benchmarks.harness import RESULTS, format_table, time_call
from benchmarks.workloads import SEED, Prose, build_steps
from weavegraph_checkpoints import Checkpoint

BEFORE, ABSENT, API, SDK = "before telemetry", "not installed", "API alone", "API and SDK"
OPERATIONS = ("save", "load latest")
CALLS_PER_TURN = 50

Medians = dict[tuple[str, str], float]
"""Seconds by variant and operation, in one process."""


def measure_telemetry(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure a save and a read in processes that take turns."""
    rounds, calls = (2, 200) if quick else (7, 1000)
    rows = []
    for server in servers:
        found: dict[str, list[Medians]] = defaultdict(list)
        for _ in range(rounds):
            for variant in (ABSENT, API, SDK):
                found[variant].append(harness.run_alone(_measure_process, server, variant, calls))
        for variant, processes in found.items():
            cells = [_format_cells(processes, variant, operation) for operation in OPERATIONS]
            rows.append([f"{variant} ({server})", *(cell for pair in cells for cell in pair)])
    heads = [head for operation in OPERATIONS for head in (f"{operation}, {BEFORE}", operation)]
    return {RESULTS: format_table(["ms per call", *heads], rows)}


def _format_cells(processes: Sequence[Medians], variant: str, operation: str) -> tuple[str, str]:
    before = [medians[BEFORE, operation] for medians in processes]
    after = [medians[variant, operation] for medians in processes]
    ratios = [two / one for one, two in zip(before, after, strict=True)]
    milliseconds = [f"{median(seconds) * 1000:.3f}" for seconds in (before, after)]
    spread = f"{min(ratios):.3f}–{max(ratios):.3f}"
    return milliseconds[0], f"{milliseconds[1]} ×{median(ratios):.3f} ({spread})"


def _measure_process(server: str, variant: str, calls: int) -> Medians:
    """Measure a variant, and the code before telemetry."""
    if variant == ABSENT:
        sys.modules["opentelemetry"] = None  # type: ignore[assignment]
    elif variant == SDK:
        _set_providers()
    with harness.temporary_databases({"default": server}):
        harness.create_tables("default")
        connections["default"].ensure_connection()
        seconds = _time_calls(_build_savers(variant), calls)
        connections["default"].close()
    return {key: median(times) for key, times in seconds.items()}


def _set_providers() -> None:
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


def _build_savers(variant: str) -> dict[str, Any]:
    from weavegraph_checkpoints import retries, signals
    from weavegraph_checkpoints.backends import history, saving
    from weavegraph_checkpoints.backends.drafts import Draft
    from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
    from weavegraph_checkpoints.domain.limits import is_session_id

    class Before(DjangoCheckpointer):
        """Saves and reads as they were before telemetry."""

        def save(self, checkpoint: Checkpoint, *, replace: bool = True) -> None:
            self._save_as_before(checkpoint, None, replace)

        def _save_as_before(
            self, checkpoint: Checkpoint, expected: int | None, replace: bool
        ) -> None:
            backend = self._for_write()
            alias = backend.connection.alias
            draft = Draft(checkpoint, alias)
            retries.run(
                backend.connection,
                lambda: saving.save(backend, draft, self.owner, expected, replace=replace),
            )
            signals.send_checkpoint_saved(
                type(self), session_id=draft.row.session_id, step=draft.row.step, using=alias
            )

        def load_latest(self, session_id: str) -> Checkpoint | None:
            if not is_session_id(session_id):
                return None
            return history.read_latest(self._for_write(), session_id, self.owner)

    return {BEFORE: Before(), variant: DjangoCheckpointer()}


def _time_calls(savers: dict[str, Any], calls: int) -> dict[tuple[str, str], list[float]]:
    """Time the calls of each variant; the variants take turns."""
    steps = build_steps("session", calls, 1, 900, Prose(random.Random(SEED)), growing=False)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for start in range(0, calls, CALLS_PER_TURN):
        turns = list(savers.items())
        random.Random(start).shuffle(turns)
        for variant, saver in turns:
            batch = [
                replace(step, session_id=variant) for step in steps[start : start + CALLS_PER_TURN]
            ]
            times[variant, "save"] += [time_call(partial(saver.save, each)) for each in batch]
            load = partial(saver.load_latest, variant)
            times[variant, "load latest"] += [time_call(load) for _ in batch]
    return times
