"""The statements that measure what is stored, without reading a state."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from weavegraph_checkpoints.backends.base import SESSION, STEP, Backend


class HistoryRow(NamedTuple):
    """The steps of one session, beside the sums over all."""

    session_id: str
    steps: int
    bytes: int
    all_sessions: int
    """How many sessions have steps."""
    all_steps: int
    all_bytes: int


class StatsStatements:
    """Counts and sums inside the database."""

    def __init__(self, backend: Backend) -> None:
        self.connection = backend.connection
        self.all_steps = backend.all_steps
        self.utc_date = backend.utc_date
        self.octets = f"COALESCE(state_bytes, {backend.octet_length('state')})"

    def statuses(self) -> dict[str, int]:
        """Return how many sessions have each status; none of 0."""
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT status, COUNT(*) FROM {SESSION} GROUP BY status")
            return dict(cursor.fetchall())

    def largest_histories(self, limit: int) -> list[HistoryRow]:
        """Return the sessions whose states take the most bytes, ties by id."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                "SELECT session_id, steps, size, COUNT(*) OVER (), SUM(steps) OVER (),"
                " SUM(size) OVER () FROM (SELECT session_id, COUNT(*) AS steps,"
                f" SUM({self.octets}) AS size FROM {self.all_steps} GROUP BY session_id)"
                " AS histories ORDER BY size DESC, session_id LIMIT %s",
                [limit],
            )
            return [
                HistoryRow(session_id, *map(int, numbers))
                for session_id, *numbers in cursor.fetchall()
            ]

    def days(self, first: date, last: date) -> dict[date, tuple[int, int]]:
        """Return how many steps were made on each day, in UTC, and their bytes."""
        bounds = [
            self.connection.ops.adapt_datetimefield_value(self._midnight(day))
            for day in (first, last + timedelta(days=1))
        ]
        day = self.utc_date("created_at")
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {day}, COUNT(*), SUM({self.octets}) FROM {STEP}"
                f" WHERE created_at >= %s AND created_at < %s GROUP BY {day}",
                bounds,
            )
            return {
                date.fromisoformat(str(name)): (steps, int(size))
                for name, steps, size in cursor.fetchall()
            }

    def _midnight(self, day: date) -> datetime:
        has_zones = self.connection.features.supports_timezones
        return datetime.combine(day, time(), tzinfo=UTC if has_zones else None)
