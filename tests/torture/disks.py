"""Small file systems, and what fills them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MEGABYTE = 2**20


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Mount an empty file system of this size, in memory; only root may."""
    with tempfile.TemporaryDirectory(prefix="weavegraph-disk-") as place:
        _mount(place, "tmpfs", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)


def grow(place: Path, megabytes: int) -> None:
    """Give a small disk another size."""
    _mount(str(place), "tmpfs", "-o", f"remount,size={megabytes}m")


def _mount(place: str, device: str, *options: str) -> None:
    if os.getuid() != 0:
        pytest.skip("left out: only root may mount a small file system")
    done = subprocess.run(["mount", *options, device, place], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"left out: no small file system: {done.stderr.strip()}")


def leave_free(place: Path, free: int) -> Path:
    """Fill a disk but for so many bytes with one file; return it."""
    ballast = place / "ballast"
    status = os.statvfs(place)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - free)
    return ballast
