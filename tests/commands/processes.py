"""Run a command in another process, or on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

MANAGE = Path(settings.BASE_DIR) / "manage.py"
STUCK_AFTER_SECONDS = 120


def start(command: str, *args: str, encoding: str = "utf-8", **pipes: Any) -> subprocess.Popen[str]:
    """Start a command in another process, on the databases of the tests."""
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "PYTHONIOENCODING": encoding,
    }
    return subprocess.Popen(
        [sys.executable, str(MANAGE), command, *args],
        env=environment,
        cwd=MANAGE.parent,
        text=True,
        encoding=encoding,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | pipes,
    )


def run_on_terminal(command: str, *args: str, encoding: str = "utf-8") -> tuple[str, str]:
    """Run a command whose standard error is a terminal; return both outputs."""
    leader, follower = pty.openpty()
    process = start(command, *args, encoding=encoding, stderr=follower)
    os.close(follower)
    shown = bytearray()
    try:
        while chunk := os.read(leader, 1024):
            shown += chunk
    except OSError:
        pass
    finally:
        os.close(leader)
    stdout, _ = process.communicate(timeout=STUCK_AFTER_SECONDS)
    assert process.returncode == 0, (stdout, shown)
    return stdout, shown.decode()
