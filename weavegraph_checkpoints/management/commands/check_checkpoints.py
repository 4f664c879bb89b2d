"""``manage.py check_checkpoints``: verify what is stored, and repair it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from weavegraph_checkpoints import health
from weavegraph_checkpoints.health import Extent, Finding
from weavegraph_checkpoints.management.databases import (
    add_database_option,
    check_database,
    check_tables,
)
from weavegraph_checkpoints.management.interruption import Interruption
from weavegraph_checkpoints.management.progress import Progress
from weavegraph_checkpoints.management.wording import counted, on_one_line, quoted


class Command(BaseCommand):
    """Print each problem; exit with status 1 when one stays unrepaired."""

    help = (
        "Verify the triggers, the snapshot of each session and the counts of each step. "
        "Exits with status 1 when a problem stays unrepaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--deep", action="store_true", help="Decode every step too, and count again."
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="Install the triggers, derive wrong snapshots again, and write missing or "
            "wrong counts. A state that cannot be decoded and a step without its session "
            "are only reported.",
        )
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="A line for each problem (text), or one JSON document (json).",
        )
        add_database_option(parser)

    def handle(
        self,
        *args: Any,
        database: str,
        deep: bool,
        repair: bool,
        format: str,
        verbosity: int,
        **options: Any,
    ) -> None:
        """Verify, and write each problem as soon as it is found."""
        check_database(database)
        check_tables(database)
        self.verbosity = verbosity
        self.as_json = format == "json"
        self.checked = Extent()
        self.found = self.unrepaired = 0
        self._begin(database)
        finished = self._verify(database, deep, repair)
        self._end(finished)
        if not finished:
            sys.exit(130)
        if self.unrepaired:
            sys.exit(1)

    def _verify(self, database: str, deep: bool, repair: bool) -> bool:
        """Say whether the work came to its end; SIGINT ends it before."""
        total = None
        if self.stderr.isatty() and self.verbosity:
            extent = health.extent(using=database)
            total = extent.sessions + extent.steps
        with (
            Interruption() as interruption,
            Progress(self.stderr, unit="rows", verbosity=self.verbosity, total=total) as progress,
        ):

            def on_progress(checked: Extent) -> None:
                self.checked = checked
                progress.update(checked.sessions + checked.steps)
                interruption.check()

            try:
                for finding in health.verify(
                    using=database, deep=deep, repair=repair, on_progress=on_progress
                ):
                    with progress.aside():
                        self._write(finding)
                    interruption.check()
            except KeyboardInterrupt:
                return False
        return True

    def _begin(self, database: str) -> None:
        if self.as_json:
            self.stdout.write(f'{{"database": {json.dumps(database)}, "problems": [', ending="")

    def _write(self, finding: Finding) -> None:
        if self.as_json:
            separator = ",\n" if self.found else "\n"
            self.stdout.write(separator + json.dumps(asdict(finding)), ending="")
        else:
            self.stdout.write(_line(finding))
        self.found += 1
        self.unrepaired += not finding.repaired

    def _end(self, finished: bool) -> None:
        if self.as_json:
            summary = {
                "found": self.found,
                "unrepaired": self.unrepaired,
                **asdict(self.checked),
                "finished": finished,
            }
            self.stdout.write(f"\n], {json.dumps(summary)[1:]}")
        elif self.verbosity:
            self.stdout.write(self._summary(finished))

    def _summary(self, finished: bool) -> str:
        sessions = counted(self.checked.sessions, "session")
        steps = counted(self.checked.steps, "step")
        begin = "checked" if finished else "interrupted after"
        if not self.found:
            return f"{begin} {sessions} and {steps}: no problems"
        repaired = self.found - self.unrepaired
        return (
            f"{begin} {sessions} and {steps}: {counted(self.found, 'problem')}, {repaired} repaired"
        )


def _line(finding: Finding) -> str:
    repaired = " (repaired)" if finding.repaired else ""
    what = f"{finding.problem}: {on_one_line(finding.detail)}{repaired}"
    if finding.session_id is None:
        return what
    step = "-" if finding.step is None else finding.step
    return f"{quoted(finding.session_id)} {step} {what}"
