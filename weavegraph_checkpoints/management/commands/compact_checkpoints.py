"""``manage.py compact_checkpoints``: store whole states as changes, or changes as whole states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from weavegraph_checkpoints import compaction
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.compaction import CompactionResult
from weavegraph_checkpoints.management.base import EXIT_INTERRUPTED, CheckpointCommand
from weavegraph_checkpoints.management.output import format_count, format_size

MIN_STEPS_FOR_SPACE_HINT = 10_000


class Command(CheckpointCommand):
    """Compact the states, and print by how much their JSON shrank."""

    help = (
        "Store the states that are stored whole as changes to other states of their session, "
        "which takes a small part of the space. What is read remains the same. --whole undoes it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--session",
            action="append",
            dest="session_ids",
            metavar="ID",
            help="Only this session. Can be given several times.",
        )
        parser.add_argument("--whole", action="store_true", help="Store every state whole instead.")
        parser.add_argument(
            "--batch-size",
            type=int,
            default=compaction.DEFAULT_BATCH_SIZE,
            metavar="N",
            help="Maximum number of steps that one transaction checks. Defaults to %(default)s.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Write nothing; count the steps and the bytes that would be saved.",
        )
        super().add_arguments(parser)

    def run(
        self,
        *,
        session_ids: Sequence[str] | None,
        whole: bool,
        batch_size: int,
        dry_run: bool,
        **options: Any,
    ) -> int:
        """Compact, or count, and print the result."""
        if batch_size < 1:
            raise CommandError("--batch-size must be 1 or more.")
        self.result = CompactionResult()

        def get_total() -> int:
            return compaction.count_steps(session_ids, using=self.database)

        with self.interruptible(), self.progress("steps", get_total) as progress:

            def on_progress(result: CompactionResult) -> None:
                self.result = result
                progress.update(result.checked)

            compaction.compact(
                session_ids,
                whole=whole,
                using=self.database,
                batch_size=batch_size,
                dry_run=dry_run,
                on_progress=on_progress,
            )
        self._write_summary(whole=whole, dry_run=dry_run)
        return EXIT_INTERRUPTED if self.interrupted else 0

    def _write_summary(self, *, whole: bool, dry_run: bool) -> None:
        result = self.result
        if result.refused:
            steps = format_count(result.refused, "step")
            self.write(
                f"{steps} left as stored: the state cannot be decoded, or has keys that a state "
                "does not have. check_checkpoints --deep finds those that cannot be decoded."
            )
        if result.rewritten >= MIN_STEPS_FOR_SPACE_HINT and not dry_run:
            self.write(get_backend(connections[self.database]).space_hint)
        verb = "restored" if whole else "compacted"
        if dry_run:
            verb = "would restore" if whole else "would compact"
        change = "less" if result.saved_bytes >= 0 else "more"
        steps = f"{result.rewritten} of {format_count(result.checked, 'step')}"
        self.write(f"{verb} {steps}: {format_size(abs(result.saved_bytes))} of JSON {change}")
