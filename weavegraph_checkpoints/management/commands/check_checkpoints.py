"""``manage.py check_checkpoints``: verify what is stored, and repair it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from weavegraph_checkpoints import health
from weavegraph_checkpoints.domain.escaping import escape_unprintable
from weavegraph_checkpoints.health import Finding, RowCount
from weavegraph_checkpoints.management.base import EXIT_INTERRUPTED, CheckpointCommand
from weavegraph_checkpoints.management.output import format_count, quote


class Command(CheckpointCommand):
    """Print each problem, and exit with status 1 if one is not repaired."""

    help = (
        "Verify the triggers, the snapshot of each session and the counts of each step. "
        "Exits with status 1 if a problem is not repaired."
    )
    interrupted_message = ""  # The summary says so.

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--deep", action="store_true", help="Also decode every step, and compare its counts."
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="Install the triggers, derive stale snapshots again, and write missing or wrong "
            "counts. States that cannot be decoded and steps without a session are only reported.",
        )
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="A line for each problem (text) or one JSON document (json).",
        )
        super().add_arguments(parser)

    def run(self, *, deep: bool, repair: bool, format: str, **options: Any) -> int:
        """Check the database, and write each problem as soon as it is found."""
        self.as_json = format == "json"
        self.checked = RowCount()
        self.found = self.unrepaired = 0
        self.notes: list[Finding] = []
        if self.as_json:
            name = json.dumps(self.database)
            self.stdout.write(f'{{"database": {name}, "problems": [', ending="")
        with self.interruptible():
            self._verify(deep, repair)
        self._write_summary()
        if self.interrupted:
            return EXIT_INTERRUPTED
        return 1 if self.unrepaired else 0

    def _verify(self, deep: bool, repair: bool) -> None:
        def get_total() -> int:
            rows = health.count_rows(using=self.database)
            return rows.sessions + rows.steps

        with self.progress("rows", get_total) as progress:

            def on_progress(checked: RowCount) -> None:
                self.checked = checked
                progress.update(checked.sessions + checked.steps)

            for finding in health.verify(
                using=self.database, deep=deep, repair=repair, on_progress=on_progress
            ):
                with progress.hidden():
                    self._write(finding)
                self.check_interrupt()

    def _write(self, finding: Finding) -> None:
        if finding.is_note:
            self.notes.append(finding)
            if not self.as_json:
                self.stdout.write(_format_finding(finding))
            return
        if self.as_json:
            separator = ",\n" if self.found else "\n"
            self.stdout.write(separator + json.dumps(asdict(finding)), ending="")
        else:
            self.stdout.write(_format_finding(finding))
        self.found += 1
        self.unrepaired += not finding.repaired

    def _write_summary(self) -> None:
        if self.as_json:
            summary = {
                "found": self.found,
                "unrepaired": self.unrepaired,
                **asdict(self.checked),
                "finished": not self.interrupted,
                "notes": [asdict(note) for note in self.notes],
            }
            self.stdout.write(f"\n], {json.dumps(summary)[1:]}")
        else:
            self.write(self._format_summary())

    def _format_summary(self) -> str:
        sessions = format_count(self.checked.sessions, "session")
        steps = format_count(self.checked.steps, "step")
        begin = "interrupted after" if self.interrupted else "checked"
        result = "no problems"
        if self.found:
            repaired = self.found - self.unrepaired
            result = f"{format_count(self.found, 'problem')}, {repaired} repaired"
        if self.notes:
            result += ", triggers not verified"
        return f"{begin} {sessions} and {steps}: {result}"


def _format_finding(finding: Finding) -> str:
    repaired = " (repaired)" if finding.repaired else ""
    what = f"{finding.problem}: {escape_unprintable(finding.detail)}{repaired}"
    if finding.session_id is None:
        return what
    step = "-" if finding.step is None else finding.step
    return f"{quote(finding.session_id)} {step} {what}"
