"""``manage.py export_weavegraph``: hand sessions over to the Rust crate."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from weavegraph_checkpoints.domain.retention import STATUSES
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange import (
    ExportResult,
    Invalid,
    count_steps,
    export_history,
)
from weavegraph_checkpoints.management.databases import (
    add_database_option,
    check_database,
    check_tables,
)
from weavegraph_checkpoints.management.interruption import Interruption
from weavegraph_checkpoints.management.progress import Progress
from weavegraph_checkpoints.management.wording import counted, on_one_line


class Command(BaseCommand):
    """Export sessions into a SQLite file that the crate opens."""

    help = (
        "Export sessions into a SQLite file of the Rust crate weavegraph 0.7. It can be "
        "stopped at any moment and run again: it goes on in a file that an export began, and "
        "touches no other."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "target",
            metavar="TARGET",
            help="A file that is not there yet, or that an export began.",
        )
        parser.add_argument(
            "--session",
            action="append",
            dest="session_ids",
            metavar="ID",
            help="Only this session; may be given again.",
        )
        parser.add_argument("--status", choices=STATUSES, help="Only sessions of this status.")
        parser.add_argument(
            "--skip-invalid",
            action="store_true",
            help="Leave out sessions that the crate or the file cannot take, list them, and go on.",
        )
        add_database_option(parser)

    def handle(
        self,
        *args: Any,
        target: str,
        session_ids: list[str] | None,
        status: str | None,
        skip_invalid: bool,
        database: str,
        verbosity: int,
        **options: Any,
    ) -> None:
        """Export, and print what the file has got."""
        check_database(database)
        check_tables(database)
        self.result = ExportResult()
        choices = {"using": database, "sessions": session_ids, "status": status}
        interrupted = False
        try:
            self._export(target, choices, skip_invalid, verbosity)
        except KeyboardInterrupt:
            interrupted = True
            self.stderr.write("interrupted: the rest is left to another run")
        except InterchangeError as error:
            if self.result.sessions:
                self.stderr.write(_summary(self.result))
            raise CommandError(on_one_line(str(error))) from error
        if verbosity:
            self.stdout.write(_summary(self.result))
        if interrupted:
            sys.exit(130)

    def _export(
        self, target: str, choices: dict[str, Any], skip_invalid: bool, verbosity: int
    ) -> None:
        total = None
        if self.stderr.isatty() and verbosity:
            total = count_steps(**choices)
        with (
            Interruption() as interruption,
            Progress(self.stderr, unit="steps", verbosity=verbosity, total=total) as progress,
        ):

            def on_progress(result: ExportResult) -> None:
                self.result = result
                progress.update(result.steps)
                interruption.check()

            def on_invalid(found: Invalid) -> None:
                with progress.aside():
                    self.stderr.write(f"left out: {on_one_line(str(found))}")
                interruption.check()

            export_history(
                target,
                **choices,
                on_invalid=on_invalid if skip_invalid else None,
                on_progress=on_progress,
            )


def _summary(result: ExportResult) -> str:
    return (
        f"exported {counted(result.added, 'step')} of {counted(result.sessions, 'session')}: "
        f"{result.unchanged} there already; {counted(result.invalid, 'session')} left out"
    )
