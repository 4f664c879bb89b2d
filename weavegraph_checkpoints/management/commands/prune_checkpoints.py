"""``manage.py prune_checkpoints``: delete what a retention policy names."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.template.defaultfilters import filesizeformat

from weavegraph_checkpoints import conf, pruning
from weavegraph_checkpoints.domain.retention import STATUSES, RetentionPolicy
from weavegraph_checkpoints.exceptions import InvalidPolicy
from weavegraph_checkpoints.management.databases import add_database_option, check_database
from weavegraph_checkpoints.management.interruption import Interruption
from weavegraph_checkpoints.management.progress import Progress
from weavegraph_checkpoints.pruning import PruneResult

RULES = ("keep_last", "older_than", "delete_inactive")
NARROWING = ("session_ids", "status", "owner")

INTERRUPTED = 130
LARGE_STEPS = 10_000
SPACE_HINTS = {
    "mysql": (
        "MariaDB keeps the freed space inside its tables for new rows; "
        "OPTIMIZE TABLE gives it back to the disk, and needs free space for a copy."
    ),
    "postgresql": (
        "PostgreSQL's autovacuum makes the freed space free for new rows; "
        "VACUUM FULL, which locks the table, or pg_repack gives it back to the disk."
    ),
    "sqlite": (
        "SQLite keeps the freed pages for new rows; VACUUM gives them back to the disk, "
        "and needs as much free space as the file takes."
    ),
}


class Command(BaseCommand):
    """Delete steps and sessions that a policy, or the setting ``RETENTION``, names."""

    help = (
        "Delete steps and sessions by the rules given, or by the setting RETENTION. "
        "The newest step of a session never goes by a step rule."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep-last",
            type=int,
            metavar="N",
            help="Delete the steps that are not among the newest N of their session.",
        )
        parser.add_argument(
            "--older-than",
            metavar="AGE",
            help="Delete steps older than this: 30d, 12h, 2w, 90m or ISO 8601 (P30DT12H). "
            "With --keep-last, a step goes only when both name it.",
        )
        parser.add_argument(
            "--delete-inactive",
            metavar="AGE",
            help="Delete whole sessions that were not updated for so long.",
        )
        parser.add_argument(
            "--session",
            action="append",
            dest="session_ids",
            metavar="ID",
            help="Only this session; may be given again.",
        )
        parser.add_argument("--status", choices=STATUSES, help="Only sessions of this status.")
        parser.add_argument("--owner", help='Only sessions of this owner ("" is one too).')
        parser.add_argument(
            "--batch-size",
            type=int,
            default=pruning.DEFAULT_BATCH_SIZE,
            metavar="N",
            help="How many steps a transaction deletes at the most (%(default)s).",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Delete nothing; count exactly what would go.",
        )
        add_database_option(parser)

    def handle(
        self,
        *args: Any,
        database: str,
        batch_size: int,
        dry_run: bool,
        verbosity: int,
        **options: Any,
    ) -> None:
        """Prune, or count, and print what went."""
        check_database(database)
        policies = _policies(options)
        self.verbosity = verbosity
        with Interruption() as interruption:
            self.interruption = interruption
            results = self._results(policies, database, batch_size, dry_run)
        for number, (policy, result) in enumerate(zip(policies, results, strict=False), 1):
            self._report(f"{number} of {len(policies)}", policy, result)
        steps = sum(result.steps for result in results)
        sessions = sum(result.sessions for result in results)
        if not dry_run and steps >= LARGE_STEPS:
            self._say(SPACE_HINTS[connections[database].vendor])
        verb = "would prune" if dry_run else "pruned"
        self._say(f"{verb} {_counted(steps, 'step')} and {_counted(sessions, 'session')}")
        if len(results) < len(policies) or not all(result.finished for result in results):
            sys.exit(INTERRUPTED)

    def _results(
        self, policies: Sequence[RetentionPolicy], database: str, batch_size: int, dry_run: bool
    ) -> list[PruneResult]:
        """Return the result of each policy; SIGINT ends with what there is so far."""
        results: list[PruneResult] = []
        try:
            if dry_run:
                self._preview(policies, database, results)
            else:
                self._prune(policies, database, batch_size, results)
        except KeyboardInterrupt:
            if self.verbosity:
                self.stderr.write("interrupted: the rest is left to another run")
        except InvalidPolicy as error:
            raise CommandError(str(error)) from error
        return results

    def _preview(
        self, policies: Sequence[RetentionPolicy], database: str, results: list[PruneResult]
    ) -> None:
        with Progress(self.stderr, unit="steps counted", verbosity=self.verbosity) as progress:

            def on_progress(so_far: list[PruneResult]) -> None:
                results[:] = so_far
                progress.update(sum(result.steps for result in so_far))
                self.interruption.check()

            results[:] = pruning.preview(policies, using=database, on_progress=on_progress)

    def _prune(
        self,
        policies: Sequence[RetentionPolicy],
        database: str,
        batch_size: int,
        results: list[PruneResult],
    ) -> None:
        total = self._total(policies, database)
        with Progress(self.stderr, unit="steps", verbosity=self.verbosity, total=total) as progress:
            for policy in policies:
                results.append(PruneResult())

                def on_progress(result: PruneResult) -> None:
                    results[-1] = result
                    progress.update(sum(each.steps for each in results))
                    self.interruption.check()

                results[-1] = pruning.prune(
                    policy, using=database, batch_size=batch_size, on_progress=on_progress
                )

    def _total(self, policies: Sequence[RetentionPolicy], database: str) -> int | None:
        """Return how many steps will go, where a bar wants to tell the time left."""
        if not (self.stderr.isatty() and self.verbosity):
            return None
        counted: list[PruneResult] = []
        self._preview(policies, database, counted)
        return sum(result.steps for result in counted)

    def _report(self, number: str, policy: RetentionPolicy, result: PruneResult) -> None:
        self._say(
            f"policy {number} ({_described(policy)}): {_counted(result.steps, 'step')}, "
            f"{_counted(result.sessions, 'session')}, {_size(result.bytes)}"
        )
        for loss in result.largest:
            self._say(
                f"  {json.dumps(loss.session_id, ensure_ascii=False)}: "
                f"{_counted(loss.steps, 'step')}, {_size(loss.bytes)}"
            )

    def _say(self, text: str) -> None:
        if self.verbosity:
            self.stdout.write(text)


def _policies(options: Mapping[str, Any]) -> Sequence[RetentionPolicy]:
    """Return the policy of the options, or those of the setting ``RETENTION``."""
    given = {key: options[key] for key in (*RULES, *NARROWING) if options[key] is not None}
    try:
        if any(key in given for key in RULES):
            return [RetentionPolicy.from_mapping(given)]
        if given:
            raise CommandError(
                "--session, --status and --owner only narrow: give --keep-last, "
                "--older-than or --delete-inactive with them."
            )
        policies = conf.retention()
    except (ImproperlyConfigured, InvalidPolicy) as error:
        raise CommandError(str(error)) from error
    if not policies:
        raise CommandError(
            "There is nothing to prune by: give --keep-last, --older-than or "
            f"--delete-inactive, or set {conf.NAME}['RETENTION']."
        )
    return policies


def _described(policy: RetentionPolicy) -> str:
    values = {key: getattr(policy, key) for key in (*RULES, *NARROWING)}
    return ", ".join(f"{key}={_shown(value)}" for key, value in values.items() if value is not None)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value)) if len(value) == 1 else f"{len(value)} ids"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _size(size: int) -> str:
    return filesizeformat(size).replace("\xa0", " ")
