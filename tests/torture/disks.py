"""Mount, resize and fill small file systems."""

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
def mount_small_disk(megabytes: int) -> Iterator[Path]:
    """Mount an empty file system of this size in memory; skip the test without root."""
    with tempfile.TemporaryDirectory(prefix="weavegraph-disk-") as directory:
        _mount(directory, "tmpfs", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755")
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def resize_disk(directory: Path, megabytes: int) -> None:
    """Resize a file system of ``mount_small_disk``."""
    _mount(str(directory), "tmpfs", "-o", f"remount,size={megabytes}m")


def _mount(directory: str, device: str, *options: str) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(["mount", *options, device, directory], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")


def fill_disk(directory: Path, free: int) -> Path:
    """Create a file that leaves ``free`` bytes on a disk; return its path."""
    ballast = directory / "ballast"
    status = os.statvfs(directory)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - free)
    return ballast
