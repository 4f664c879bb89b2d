"""``manage.py export_weavegraph``: export sessions for the Rust crate."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from weavegraph_checkpoints.domain.retention import STATUSES
from weavegraph_checkpoints.interchange import ExportResult, count_steps, export_history
from weavegraph_checkpoints.management.interchange import InterchangeCommand
from weavegraph_checkpoints.management.output import format_count


class Command(InterchangeCommand):
    """Export sessions to a SQLite file that the crate opens."""

    help = (
        "Export sessions to a SQLite file of the Rust crate weavegraph 0.7. You can interrupt "
        "the command and run it again: steps that the file already has are not written again."
    )
    skip_invalid_help = (
        "Leave out sessions that the crate or the file cannot hold, list the steps that are "
        "the reason, and export the others."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "target",
            metavar="TARGET",
            help="The path of a new file, or of one that was created by an export.",
        )
        parser.add_argument("--status", choices=STATUSES, help="Only sessions of this status.")
        super().add_arguments(parser)

    def transfer(
        self,
        *,
        target: str,
        session_ids: list[str] | None,
        status: str | None,
        skip_invalid: bool,
        **options: Any,
    ) -> None:
        """See ``InterchangeCommand.transfer``."""
        self.result = ExportResult()
        self.call(
            partial(export_history, target),
            partial(count_steps, using=self.database, sessions=session_ids, status=status),
            skip_invalid=skip_invalid,
            sessions=session_ids,
            status=status,
        )

    def get_summary(self) -> str:
        """See ``InterchangeCommand.get_summary``."""
        result = self.result
        return (
            f"exported {format_count(result.added, 'step')} of "
            f"{format_count(result.sessions, 'session')}: {result.unchanged} unchanged; "
            f"{format_count(result.invalid, 'session')} left out"
        )
