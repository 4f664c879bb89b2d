"""``manage.py checkpoint_stats``: measure what is stored, and how it grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from django.core.management.base import CommandParser

from weavegraph_checkpoints.health.stats import DayGrowth, LabelStats, Stats, collect
from weavegraph_checkpoints.management.base import CheckpointCommand
from weavegraph_checkpoints.management.output import (
    format_count,
    format_policy,
    format_result,
    format_size,
    quote,
)

BAR_WIDTH = 30


class Command(CheckpointCommand):
    """Print the size and growth of what is stored, and what ``RETENTION`` would delete."""

    help = (
        "Measure what is stored: sessions by status, steps, size of the states and of what is "
        "stored of them, the largest "
        "sessions, growth per day, and what each policy of the setting RETENTION would delete."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="A table (text) or one JSON document (json).",
        )
        parser.add_argument(
            "--by-label",
            metavar="KEY",
            help="Also add up the sessions by their values of this label, such as customer.",
        )
        super().add_arguments(parser)

    def run(self, *, format: str, by_label: str | None, **options: Any) -> int:
        """Measure, and print."""
        stats = collect(using=self.database, by_label=by_label)
        if format == "json":
            document = {"database": self.database, **asdict(stats)}
            self.stdout.write(json.dumps(document, default=_to_json))
        else:
            self.stdout.write("\n".join(_format_stats(stats)))
        return 0


def _to_json(value: object) -> object:
    """Return a date in ISO 8601, and a duration in seconds."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _format_stats(stats: Stats) -> Iterator[str]:
    statuses = ", ".join(f"{number} {status}" for status, number in stats.sessions.items())
    yield f"sessions  {sum(stats.sessions.values())} ({statuses})"
    yield f"steps     {stats.steps}"
    mean = format_size(stats.mean_bytes)
    yield f"states    {format_size(stats.bytes)}, {mean} per session on average"
    yield f"stored    {format_size(stats.stored_bytes)}, with keyframes and snapshots"
    yield ""
    yield "Largest sessions"
    for session in stats.largest:
        yield (
            f"  {format_size(session.bytes):>10}"
            f"  {f'{format_size(session.stored_bytes)} stored':>17}"
            f"  {format_count(session.steps, 'step'):>14}  {quote(session.session_id)}"
        )
    yield ""
    if stats.by_label is not None:
        yield from _format_label(stats.by_label)
        yield ""
    yield "Growth per day, in UTC"
    largest = max(day.bytes for day in stats.growth)
    for day in stats.growth:
        yield _format_day(day, largest)
    yield ""
    yield from _format_retention(stats)


def _format_label(stats: LabelStats) -> Iterator[str]:
    without = format_count(stats.sessions_without, "session")
    yield f"Largest of {format_count(stats.values, 'value')} of {stats.key}; {without} without it"
    for each in stats.largest:
        yield (
            f"  {format_size(each.bytes):>10}  {format_count(each.sessions, 'session'):>17}"
            f"  {format_count(each.steps, 'step'):>14}  {quote(each.value)}"
        )


def _format_day(day: DayGrowth, largest: int) -> str:
    bar = "#" * -(-day.bytes * BAR_WIDTH // (largest or 1))
    size = format_size(day.bytes)
    return f"  {day.day}  {format_count(day.steps, 'step'):>14}  {size:>10}  {bar}".rstrip()


def _format_retention(stats: Stats) -> Iterator[str]:
    if not stats.retention:
        yield "The setting RETENTION is empty."
        return
    yield "Each policy of RETENTION alone would delete"
    for effect in stats.retention:
        yield f"  {format_policy(effect.policy)}: {format_result(effect.result)}"
