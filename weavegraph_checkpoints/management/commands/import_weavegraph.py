"""``manage.py import_weavegraph``: import sessions from a database of the Rust crate."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from weavegraph_checkpoints.interchange import (
    CONFLICTS,
    ImportResult,
    import_history,
    open_source,
)
from weavegraph_checkpoints.management.interchange import InterchangeCommand
from weavegraph_checkpoints.management.output import format_count


class Command(InterchangeCommand):
    """Import sessions from a SQLite file or a PostgreSQL database of the crate."""

    help = (
        "Import sessions from a database of the Rust crate weavegraph 0.7, which is opened "
        "read-only. You can interrupt the command and run it again: steps that are already "
        "stored are not written again."
    )
    skip_invalid_help = (
        "Leave out sessions with an invalid row, list these rows, and import the others."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "source",
            metavar="SOURCE",
            help="The path of a SQLite file, or a URL postgresql://user@host/name.",
        )
        parser.add_argument(
            "--owner",
            metavar="O",
            help='The owner of new sessions. Defaults to "". If it is given, a stored session '
            "of another owner is an error.",
        )
        parser.add_argument(
            "--on-conflict",
            choices=CONFLICTS,
            default="fail",
            help="What to do if a stored step differs: exit with an error before anything of "
            "its session is written (fail), keep it (skip), or replace it (replace). Missing "
            "steps are always added. Defaults to %(default)s.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Write nothing; count exactly what would be written.",
        )
        super().add_arguments(parser)

    def transfer(
        self,
        *,
        source: str,
        session_ids: list[str] | None,
        owner: str | None,
        on_conflict: str,
        dry_run: bool,
        skip_invalid: bool,
        **options: Any,
    ) -> None:
        """See ``InterchangeCommand.transfer``."""
        self.result = ImportResult()
        self.verb = "would import" if dry_run else "imported"
        with open_source(source) as opened:
            self.call(
                partial(import_history, opened),
                opened.count_steps if session_ids is None else None,
                skip_invalid=skip_invalid,
                sessions=session_ids,
                owner=owner,
                on_conflict=on_conflict,
                dry_run=dry_run,
            )

    def get_summary(self) -> str:
        """See ``InterchangeCommand.get_summary``."""
        result = self.result
        return (
            f"{self.verb} {format_count(result.added, 'step')} into "
            f"{format_count(result.sessions, 'session')} ({result.new_sessions} new): "
            f"{result.replaced} replaced, {result.kept} kept, {result.unchanged} unchanged; "
            f"{format_count(result.invalid, 'session')} left out"
        )
