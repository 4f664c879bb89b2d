"""``manage.py prune_checkpoints``: delete old steps and inactive sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connections

from weavegraph_checkpoints import conf, pruning
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.domain.labels import merge_labels, parse_label
from weavegraph_checkpoints.domain.retention import STATUSES, RetentionPolicy
from weavegraph_checkpoints.management.base import EXIT_INTERRUPTED, CheckpointCommand
from weavegraph_checkpoints.management.output import (
    format_count,
    format_policy,
    format_protected,
    format_result,
    format_size,
    quote,
)
from weavegraph_checkpoints.pruning import PruneResult

RULES = ("keep_last", "older_than", "delete_inactive")
FILTERS = ("session_ids", "status", "owner", "labels")

MIN_STEPS_FOR_SPACE_HINT = 10_000


class Command(CheckpointCommand):
    """Prune by the options, or by the setting ``RETENTION``."""

    help = (
        "Delete old steps and inactive sessions by the options, or by the setting RETENTION. "
        "--keep-last and --older-than never delete the newest step of a session."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep-last",
            type=int,
            metavar="N",
            help="Delete all but the newest N steps of each session.",
        )
        parser.add_argument(
            "--older-than",
            metavar="AGE",
            help="Delete steps older than this: 30d, 12h, 2w, 90m or ISO 8601 (P30DT12H). "
            "With --keep-last, a step is deleted only when both match.",
        )
        parser.add_argument(
            "--delete-inactive",
            metavar="AGE",
            help="Delete sessions that were last updated longer ago than this.",
        )
        parser.add_argument(
            "--session",
            action="append",
            dest="session_ids",
            metavar="ID",
            help="Only this session. Can be given several times.",
        )
        parser.add_argument("--status", choices=STATUSES, help="Only sessions of this status.")
        parser.add_argument(
            "--owner", help='Only sessions of this owner; "" selects those without an owner.'
        )
        parser.add_argument(
            "--label",
            action="append",
            dest="labels",
            metavar="KEY=VALUE",
            help="Only sessions with this label. If given several times, with all of them.",
        )
        parser.add_argument(
            "--batch-size",
            type=int,
            default=pruning.DEFAULT_BATCH_SIZE,
            metavar="N",
            help="Maximum number of steps that one transaction deletes. Defaults to %(default)s.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Delete nothing; count exactly what each policy would delete alone.",
        )
        super().add_arguments(parser)

    def run(self, *, batch_size: int, dry_run: bool, **options: Any) -> int:
        """Delete, or count, and print what each policy deletes."""
        policies = _get_policies(options)
        results: list[PruneResult] = []
        with self.interruptible():
            for policy in policies:
                self._prune(policy, results, batch_size=batch_size, dry_run=dry_run)
        for number, (policy, result) in enumerate(zip(policies, results, strict=False), 1):
            name = f"policy {number} of {len(policies)} ({format_policy(policy)})"
            self.write(f"{name}: {format_result(result)}")
            for loss in result.largest:
                size = f"{format_count(loss.steps, 'step')}, {format_size(loss.bytes)}"
                self.write(f"  {quote(loss.session_id)}: {size}")
            if result.protected:
                self.write(f"  {format_protected(result)}")
        steps = sum(result.steps for result in results)
        sessions = sum(result.sessions for result in results)
        verb = "pruned"
        if dry_run:
            # Each policy is counted alone: what several match is counted more than once.
            verb = "would prune" if len(policies) == 1 else "would prune up to"
        elif steps >= MIN_STEPS_FOR_SPACE_HINT:
            self.write(get_backend(connections[self.database]).space_hint)
        self.write(f"{verb} {format_count(steps, 'step')} and {format_count(sessions, 'session')}")
        return EXIT_INTERRUPTED if self.interrupted else 0

    def _prune(
        self, policy: RetentionPolicy, results: list[PruneResult], *, dry_run: bool, batch_size: int
    ) -> None:
        """Prune, or count, and keep the last element of ``results`` up to date."""

        def get_total() -> int:
            counted: list[PruneResult] = []
            self._prune(policy, counted, dry_run=True, batch_size=batch_size)
            return counted[0].steps

        results.append(PruneResult())
        unit, total = ("steps counted", None) if dry_run else ("steps", get_total)
        with self.progress(unit, total) as progress:

            def on_progress(result: PruneResult) -> None:
                results[-1] = result
                progress.update(result.steps)

            results[-1] = pruning.prune(
                policy,
                using=self.database,
                batch_size=batch_size,
                dry_run=dry_run,
                on_progress=on_progress,
            )


def _get_policies(options: Mapping[str, Any]) -> Sequence[RetentionPolicy]:
    """Return the policy of the options, or those of the setting ``RETENTION``."""
    given = {key: options[key] for key in (*RULES, *FILTERS) if options[key] is not None}
    if "labels" in given:
        given["labels"] = _parse_labels(given["labels"])
    if any(key in given for key in RULES):
        return [RetentionPolicy.from_mapping(given)]
    if given:
        raise CommandError(
            "--session, --status, --owner and --label only filter sessions: add --keep-last, "
            "--older-than or --delete-inactive."
        )
    policies = conf.retention()
    if not policies:
        raise CommandError(
            "No retention policy: add --keep-last, --older-than or --delete-inactive, or set "
            f"{conf.NAME}['RETENTION']."
        )
    return policies


def _parse_labels(texts: Sequence[str]) -> dict[str, str]:
    labels = merge_labels(parse_label(text, "=") for text in texts)
    if labels is None:
        raise CommandError("--label has two values for the same key: no session has both.")
    return labels
