"""``manage.py checkpoint_stats``: how much is stored, and how it grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from weavegraph_checkpoints.health.stats import DayGrowth, Stats, collect
from weavegraph_checkpoints.management.databases import (
    add_database_option,
    check_database,
    check_tables,
)
from weavegraph_checkpoints.management.wording import counted, described, quoted, sized

BAR = 30


class Command(BaseCommand):
    """Print sessions, steps, bytes of states, growth, and what ``RETENTION`` would free."""

    help = (
        "Measure what is stored: sessions by status, steps, bytes of states, the largest "
        "sessions, growth per day, and what the setting RETENTION would free."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--format",
            choices=("text", "json"),
            default="text",
            help="A table to read (text), or one JSON document (json).",
        )
        add_database_option(parser)

    def handle(self, *args: Any, database: str, format: str, **options: Any) -> None:
        """Measure, and print."""
        check_database(database)
        check_tables(database)
        try:
            stats = collect(using=database)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        if format == "json":
            self.stdout.write(json.dumps({"database": database, **asdict(stats)}, default=_plain))
        else:
            self.stdout.write("\n".join(_lines(stats)))


def _plain(value: object) -> object:
    """Return what JSON lacks as text or a number: a day in ISO 8601, a duration in seconds."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _lines(stats: Stats) -> Iterator[str]:
    statuses = ", ".join(f"{number} {status}" for status, number in stats.sessions.items())
    yield f"sessions  {sum(stats.sessions.values())} ({statuses})"
    yield f"steps     {stats.steps}"
    yield f"states    {sized(stats.bytes)}, {sized(stats.mean_bytes)} per session on average"
    yield ""
    yield "Largest sessions"
    for session in stats.largest:
        yield (
            f"  {sized(session.bytes):>10}  {counted(session.steps, 'step'):>14}"
            f"  {quoted(session.session_id)}"
        )
    yield ""
    yield "Growth per day, in UTC"
    most = max(day.bytes for day in stats.growth)
    for day in stats.growth:
        yield _day(day, most)
    yield ""
    yield from _retention(stats)


def _day(day: DayGrowth, most: int) -> str:
    bar = "#" * -(-day.bytes * BAR // (most or 1))
    size = sized(day.bytes)
    return f"  {day.day}  {counted(day.steps, 'step'):>14}  {size:>10}  {bar}".rstrip()


def _retention(stats: Stats) -> Iterator[str]:
    if not stats.retention:
        yield "The setting RETENTION is empty: nothing is pruned by it."
        return
    yield "The setting RETENTION would free"
    for effect in stats.retention:
        yield (
            f"  {described(effect.policy)}: {counted(effect.result.steps, 'step')}, "
            f"{counted(effect.result.sessions, 'session')}, {sized(effect.result.bytes)}"
        )
