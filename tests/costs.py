"""Measure what a call costs, in processor time and memory, on a machine that may be busy."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

REFERENCE_SECONDS = 0.1
"""What ``run_reference`` takes on the machine for which the limits are meant."""
TOLERANCE = 2.0
"""How much more than its limit a call may take: coverage slows our code, not the reference."""
ATTEMPTS = 3
"""Other processes share the caches of the processor: the cheapest of some attempts counts."""


class Cost(NamedTuple):
    """The cost of a call."""

    seconds: float
    """Processor time."""
    megabytes: float
    """Peak memory beyond what was occupied before; 0 where the system does not tell."""


def check_cost(
    call: Callable[[], Any],
    *,
    max_seconds: float,
    max_megabytes: float | None = None,
    name: str = "the call",
) -> Any:
    """Return the result of a call; fail if it costs too much in every attempt."""
    for _ in range(ATTEMPTS):
        result, cost = measure(call)
        seconds = cost.seconds
        if seconds > max_seconds:
            seconds *= min(1, REFERENCE_SECONDS / measure(run_reference)[1].seconds)
        is_small = max_megabytes is None or cost.megabytes < max_megabytes
        if seconds < TOLERANCE * max_seconds and is_small:
            return result
    raise AssertionError(f"{name} took {seconds:.1f} s and {cost.megabytes:.0f} MB")


def measure(call: Callable[[], Any]) -> tuple[Any, Cost]:
    """Return the result of a call, and its cost."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    before = _read_peak_memory(reset=True)
    began = time.process_time()
    result = call()
    seconds = time.process_time() - began
    return result, Cost(seconds, _read_peak_memory() - before)


def run_reference() -> None:
    """Do the work whose time tells how slow the machine is at the moment."""
    values = [{"key": str(number), "values": [number] * 5} for number in range(50_000)]
    msgspec.json.decode(msgspec.json.encode(values))


def _read_peak_memory(*, reset: bool = False) -> float:
    """Return the peak memory of the process since the last reset, in megabytes."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
