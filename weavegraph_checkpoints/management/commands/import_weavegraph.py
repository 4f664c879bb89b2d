"""``manage.py import_weavegraph``: bring in what the Rust crate wrote."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange import (
    CONFLICTS,
    ImportResult,
    Invalid,
    Source,
    import_history,
    open_source,
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
    """Import sessions from a SQLite file or a PostgreSQL database of the crate."""

    help = (
        "Import sessions from a database of the Rust crate weavegraph 0.7, which is only "
        "read. It can be stopped at any moment and run again; a second run changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "source",
            metavar="SOURCE",
            help="A SQLite file, or a URL postgresql://user@host/name.",
        )
        parser.add_argument(
            "--session",
            action="append",
            dest="session_ids",
            metavar="ID",
            help="Only this session; may be given again.",
        )
        parser.add_argument(
            "--owner",
            metavar="O",
            help='The owner of new sessions, "" by default; sessions of others are refused.',
        )
        parser.add_argument(
            "--on-conflict",
            choices=CONFLICTS,
            default="fail",
            help="What to do where a step is stored that differs: end with an error before "
            "anything of its session is written (fail), keep it (skip), or replace it "
            "(replace). Missing steps are always added. %(default)s by default.",
        )
        parser.add_argument(
            "--skip-invalid",
            action="store_true",
            help="Leave out sessions with a row that cannot be read, list them, and go on.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Write nothing; count exactly what would be written.",
        )
        add_database_option(parser)

    def handle(
        self,
        *args: Any,
        source: str,
        session_ids: list[str] | None,
        owner: str | None,
        on_conflict: str,
        skip_invalid: bool,
        dry_run: bool,
        database: str,
        verbosity: int,
        **options: Any,
    ) -> None:
        """Import, or count, and print what came in."""
        check_database(database)
        check_tables(database)
        self.result = ImportResult()
        choices = {
            "using": database,
            "sessions": session_ids,
            "owner": owner,
            "on_conflict": on_conflict,
            "dry_run": dry_run,
        }
        interrupted = False
        try:
            with open_source(source) as opened:
                self._import(opened, choices, skip_invalid, verbosity)
        except KeyboardInterrupt:
            interrupted = True
            self.stderr.write("interrupted: the rest is left to another run")
        except InterchangeError as error:
            if self.result.sessions:
                self.stderr.write(_summary(self.result, dry_run))
            raise CommandError(on_one_line(str(error))) from error
        if verbosity:
            self.stdout.write(_summary(self.result, dry_run))
        if interrupted:
            sys.exit(130)

    def _import(
        self, source: Source, choices: dict[str, Any], skip_invalid: bool, verbosity: int
    ) -> None:
        total = None
        if self.stderr.isatty() and verbosity and choices["sessions"] is None:
            total = source.extent()[1]
        with (
            Interruption() as interruption,
            Progress(self.stderr, unit="steps", verbosity=verbosity, total=total) as progress,
        ):

            def on_progress(result: ImportResult) -> None:
                self.result = result
                progress.update(result.steps)
                interruption.check()

            def on_invalid(found: Invalid) -> None:
                with progress.aside():
                    self.stderr.write(f"left out: {on_one_line(str(found))}")
                interruption.check()

            import_history(
                source,
                **choices,
                on_invalid=on_invalid if skip_invalid else None,
                on_progress=on_progress,
            )


def _summary(result: ImportResult, dry_run: bool) -> str:
    verb = "would import" if dry_run else "imported"
    return (
        f"{verb} {counted(result.added, 'step')} into {counted(result.sessions, 'session')} "
        f"({result.new_sessions} new): {result.replaced} replaced, {result.kept} kept, "
        f"{result.unchanged} there already; {counted(result.invalid, 'session')} left out"
    )
