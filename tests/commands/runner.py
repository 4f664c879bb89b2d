"""Run a command as ``manage.py`` would, in the process of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import Any

from django.core.management import call_command


class Terminal(StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class CommandResult:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def run(command: str, *args: str, stderr: StringIO | None = None, **options: Any) -> CommandResult:
    """Run a command. ``CommandError`` propagates."""
    out, err = StringIO(), StringIO() if stderr is None else stderr
    status = 0
    try:
        call_command(command, *args, stdout=out, stderr=err, **options)
    except SystemExit as end:
        status = int(end.code or 0)
    return CommandResult(status, out.getvalue(), err.getvalue())
