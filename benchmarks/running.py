"""What the benchmarks share: fresh processes, the machine, and the pages they write."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import textwrap
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def surroundings() -> str:
    """Return what the figures of any run depend on."""
    import django

    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}, "
        f"Django {django.__version__}"
    )


def machine(also: str) -> str:
    """Return the line above a table: the day, the surroundings, what else counts, the load."""
    return textwrap.fill(
        f"Measured on {datetime.now(UTC):%Y-%m-%d} on {surroundings()}; {also}, "
        f"load {os.getloadavg()[0]:.1f} at the start.",
        width=100,
    )


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Return the most bytes of memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks of a page."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _old, after = rest.split(end, 1)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
