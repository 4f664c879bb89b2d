"""The base class of ``import_weavegraph`` and ``export_weavegraph``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser

from weavegraph_checkpoints.domain.escaping import escape_unprintable
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange import ExportResult, ImportResult, InvalidRow
from weavegraph_checkpoints.management.base import EXIT_INTERRUPTED, CheckpointCommand


class InterchangeCommand(CheckpointCommand):
    """Moves sessions, lists those that it leaves out, and writes a summary."""

    result: Any
    """The ``ImportResult`` or ``ExportResult`` so far."""
    skip_invalid_help: str

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--session",
            action="append",
            dest="session_ids",
            metavar="ID",
            help="Only this session. Can be given several times.",
        )
        parser.add_argument("--skip-invalid", action="store_true", help=self.skip_invalid_help)
        super().add_arguments(parser)

    def run(self, **options: Any) -> int:
        """Move the sessions, and write what was moved."""
        try:
            with self.interruptible():
                self.transfer(**options)
        except InterchangeError:
            if self.result.sessions:
                self.stderr.write(self.get_summary())
            raise
        self.write(self.get_summary())
        return EXIT_INTERRUPTED if self.interrupted else 0

    @abstractmethod
    def transfer(self, *args: Any, **options: Any) -> None:
        """Set ``result``, and move the sessions with ``call``."""

    @abstractmethod
    def get_summary(self) -> str:
        """Return ``result`` as a sentence."""

    def call(
        self,
        function: Callable[..., ImportResult | ExportResult],
        get_total: Callable[[], int] | None,
        *,
        skip_invalid: bool,
        **arguments: Any,
    ) -> None:
        """Call ``import_history`` or ``export_history``, and show the progress."""
        with self.progress("steps", get_total) as progress:

            def on_progress(result: ImportResult | ExportResult) -> None:
                self.result = result
                progress.update(result.steps)

            def on_invalid(row: InvalidRow) -> None:
                with progress.hidden():
                    self.stderr.write(f"left out: {escape_unprintable(str(row))}")
                self.check_interrupt()

            function(
                using=self.database,
                on_invalid=on_invalid if skip_invalid else None,
                on_progress=on_progress,
                **arguments,
            )
