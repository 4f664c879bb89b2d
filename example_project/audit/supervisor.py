"""Run audits in child processes, watch their progress, and kill them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from django.conf import settings

from weavegraph_checkpoints.models import Session

STUCK_AFTER_SECONDS = 60.0
"""Seconds without a new step after which an audit counts as stuck."""
POLL_SECONDS = 0.01
"""Seconds between two queries for the newest step."""
WORK_SECONDS = 0.2
"""Seconds that the nodes of a step run before the process is killed."""


class AuditFailed(Exception):
    """An audit process failed."""


class AuditProcess:
    """``manage.py audit`` in a child process, which is killed at the end of the ``with`` block."""

    def __init__(self, session_id: str, *options: str) -> None:
        self.session_id = session_id
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        self._process = subprocess.Popen(  # noqa: S603
            [
                sys.executable,
                str(settings.BASE_DIR / "manage.py"),
                "audit",
                session_id,
                "--verbosity=0",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stderr=self._stderr,
            cwd=settings.BASE_DIR,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._stderr.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def kill_after(self, step: int, on_step: Callable[[int], None]) -> None:
        """Kill the process with SIGKILL while it is at the step after the given one.

        The process must stall there (``--stall-at``), or it might already be further.
        """
        self._watch(step, on_step)
        time.sleep(WORK_SECONDS)
        if self._process.poll() is not None:
            raise self._failure(f"exited before it could be killed after step {step}")
        self._process.kill()
        self._process.wait()

    def wait(self, on_step: Callable[[int], None]) -> None:
        """Wait until the process exits; raise ``AuditFailed`` unless it succeeded."""
        self._watch(None, on_step)
        if self._process.wait() != 0:
            raise self._failure("failed")

    def _watch(self, until: int | None, on_step: Callable[[int], None]) -> None:
        """Report each new step, until step ``until`` is saved or the process has exited."""
        seen, deadline = -1, time.monotonic() + STUCK_AFTER_SECONDS
        ended = False
        while not ended and (until is None or seen < until):
            ended = self._process.poll() is not None
            step = last_step(self.session_id)
            if step > seen:
                seen, deadline = step, time.monotonic() + STUCK_AFTER_SECONDS
                on_step(step)
            elif time.monotonic() > deadline:
                raise self._failure(f"has saved no step for {STUCK_AFTER_SECONDS:.0f} seconds")
            else:
                time.sleep(POLL_SECONDS)

    def _failure(self, what: str) -> AuditFailed:
        self._stderr.seek(0)
        output = "".join(f"\n  {line}" for line in self._stderr.read().splitlines()[-15:])
        return AuditFailed(f"The audit {self.session_id} (process {self.pid}) {what}.{output}")


def last_step(session_id: str) -> int:
    """Return the newest step of a session, or -1 if it has none yet."""
    session = Session.objects.filter(pk=session_id).exclude(status=Session.Status.EMPTY)
    step: int | None = session.values_list("last_step", flat=True).first()
    return -1 if step is None else step
