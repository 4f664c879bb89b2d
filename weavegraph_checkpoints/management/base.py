"""The base class of the app's commands."""

from __future__ import annotations

import signal
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from tqdm import tqdm

from weavegraph_checkpoints.domain.escaping import escape_unprintable
from weavegraph_checkpoints.exceptions import CheckpointerError
from weavegraph_checkpoints.management.streams import (
    BarOutput,
    SafeOutput,
    discard_unwritable_output,
)
from weavegraph_checkpoints.models import Keyframe, Label, Session, Step

EXIT_INTERRUPTED = 130
SECONDS_BETWEEN_LINES = 5.0


class CheckpointCommand(BaseCommand):
    """A command with ``--database``, progress, and a clean end on Ctrl-C.

    Output that cannot be encoded or written never ends the work. Subclasses implement ``run``.
    """

    interrupted = False
    """Whether Ctrl-C ended ``interruptible``."""
    interrupted_message = "interrupted: run the command again to continue"
    _sigint_received = False
    stdout: SafeOutput
    stderr: SafeOutput

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wrap_streams()

    def _wrap_streams(self) -> None:
        self.stdout, self.stderr = SafeOutput(self.stdout), SafeOutput(self.stderr)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command; its exit status does not depend on a reader that went away."""
        try:
            super().run_from_argv(argv)
        finally:
            discard_unwritable_output()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            choices=tuple(connections),
            metavar="ALIAS",
            help='The alias of the database to use. Defaults to "%(default)s".',
        )

    def handle(self, *args: Any, database: str, verbosity: int, **options: Any) -> None:
        """Check that the app is migrated, call ``run``, and exit with the status it returns."""
        self._wrap_streams()
        try:
            tables = connections[database].introspection.table_names()
        except OperationalError as error:
            message = f"The database {database!r} cannot be used: {error}"
            raise CommandError(escape_unprintable(message.strip())) from error
        if not {model._meta.db_table for model in (Session, Step, Keyframe, Label)}.issubset(
            tables
        ):
            raise CommandError(
                f"The database {database!r} does not have the tables of weavegraph_checkpoints: "
                f"run manage.py migrate weavegraph_checkpoints --database {database}."
            )
        self.database = database
        self.verbosity = verbosity
        try:
            status = self.run(**options)
        except (CheckpointerError, ImproperlyConfigured) as error:
            raise CommandError(escape_unprintable(str(error))) from error
        self.stdout.flush()
        lost = self.stdout.error
        # A reader that closes its pipe has read enough; a full disk loses the report.
        if isinstance(lost, OSError) and not isinstance(lost, BrokenPipeError):
            raise CommandError(
                f"The command has finished, but its output could not be written: {lost.strerror}",
                returncode=status or 1,
            )
        if status:
            sys.exit(status)

    @abstractmethod
    def run(self, *args: Any, **options: Any) -> int:
        """Do the work on ``self.database``, and return the exit status.

        An error of the app or of its settings becomes a ``CommandError``.
        """

    def write(self, text: str) -> None:
        """Write a line to standard output, unless ``--verbosity`` is 0."""
        if self.verbosity:
            self.stdout.write(text)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C end the block at its next ``check_interrupt``, and set ``interrupted``.

        Work is thus interrupted between two batches, and every finished batch is counted. A
        second Ctrl-C interrupts at once. Outside the main thread, and where SIGINT is ignored
        or handled by others, the handler of SIGINT is left alone.
        """
        self.interrupted = self._sigint_received = False
        is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        delays_sigint = is_default and threading.current_thread() is threading.main_thread()
        if delays_sigint:
            signal.signal(signal.SIGINT, self._delay_sigint)
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True
            if self.verbosity and self.interrupted_message:
                self.stderr.write(self.interrupted_message)
        finally:
            if delays_sigint:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _delay_sigint(self, _signum: int, _frame: FrameType | None) -> None:
        self.check_interrupt()
        self._sigint_received = True

    def check_interrupt(self) -> None:
        """Raise ``KeyboardInterrupt`` if Ctrl-C was pressed inside ``interruptible``."""
        if self._sigint_received:
            raise KeyboardInterrupt

    @contextmanager
    def progress(self, unit: str, get_total: Callable[[], int] | None = None) -> Iterator[Progress]:
        """Show the progress of the block on standard error, unless ``--verbosity`` is 0.

        ``get_total`` is only called to draw a bar.
        """
        bar: tqdm[Any] | None = None
        if self.verbosity and self.stderr.isatty():
            total = get_total() if get_total is not None else None
            bar = tqdm(total=total, unit=f" {unit}", file=BarOutput(self.stderr), leave=False)
        progress = Progress(self, unit, bar)
        try:
            yield progress
        finally:
            if bar is not None:
                bar.close()


class Progress:
    """A growing count: a bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, command: CheckpointCommand, unit: str, bar: tqdm[Any] | None) -> None:
        self.command = command
        self.unit = unit
        self.bar = bar
        self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def update(self, count: int) -> None:
        """Show ``count``, and raise ``KeyboardInterrupt`` if Ctrl-C was pressed."""
        if self.bar is not None:
            self.bar.update(count - self.bar.n)
        elif self.command.verbosity and time.monotonic() >= self.next_line:
            self.command.stderr.write(f"{count:,} {self.unit} so far")
            self.next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        self.command.check_interrupt()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the bar while the block writes to the terminal."""
        if self.bar is not None:
            self.bar.clear()
        yield
        if self.bar is not None:
            self.bar.refresh()
