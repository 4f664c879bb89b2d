"""Pages of sessions, of the small columns alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from weavegraph_checkpoints.backends.base import SESSION, Backend, in_utc
from weavegraph_checkpoints.serde import loads_json

SMALL_COLUMNS = (
    "id",
    "owner",
    "status",
    "concurrency_limit",
    "created_at",
    "updated_at",
    "last_step",
    "revision",
    "last_message_count",
    "last_error_count",
    "last_state_bytes",
    "last_frontier",
    "forked_from",
    "forked_at_step",
)
"""Of a session: what its lists read."""

Condition = tuple[str, Any]
"""SQL with one ``%s``, and its value."""


@dataclass(frozen=True, kw_only=True)
class SessionRows:
    """Sessions that can be narrowed, ordered and paged.

    Like a queryset of ``values()``, which takes three times as long to build a page.
    """

    backend: Backend
    conditions: tuple[Condition, ...] = ()
    order: str = "updated_at DESC, id"

    def narrowed(self, *conditions: Condition) -> Self:
        """Return those of them that meet some more conditions."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def ordered(self, order: str) -> Self:
        """Return them in another order."""
        return replace(self, order=order)

    def page(self, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """Return how many there are, and those of a page.

        One statement, and another for an empty page.
        """
        where, values = self._where()
        count = f"SELECT COUNT(*) FROM {SESSION} WHERE {where}"
        rows = self._select(f"({count})", where, [*values, *values, limit, offset])
        if rows:
            return int(rows[0][0]), [self._session(row[1:]) for row in rows]
        with self.backend.connection.cursor() as cursor:
            cursor.execute(count, values)
            return int(cursor.fetchone()[0]), []

    def first(self) -> dict[str, Any] | None:
        """Return the first, or ``None``."""
        where, values = self._where()
        rows = self._select("1", where, [*values, 1, 0])
        return self._session(rows[0][1:]) if rows else None

    def _session(self, row: tuple[Any, ...]) -> dict[str, Any]:
        session = dict(zip(SMALL_COLUMNS, row, strict=True))
        for name in ("created_at", "updated_at"):
            session[name] = in_utc(session[name])
        if session["last_frontier"] is not None:
            session["last_frontier"] = loads_json(session["last_frontier"])
        return session

    def _select(self, number: str, where: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        """Return rows of ``number`` and the small columns."""
        columns = [
            self.backend.text(each) if each == "last_frontier" else each for each in SMALL_COLUMNS
        ]
        with self.backend.connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {number}, {', '.join(columns)} FROM {SESSION} WHERE {where}"
                f" ORDER BY {self.order} LIMIT %s OFFSET %s",
                parameters,
            )
            return list(cursor.fetchall())

    def _where(self) -> tuple[str, list[Any]]:
        adapt = self.backend.connection.ops.adapt_datetimefield_value
        where = " AND ".join([sql for sql, _value in self.conditions]) or "1 = 1"
        values = [value for _sql, value in self.conditions]
        return where, [adapt(each) if isinstance(each, datetime) else each for each in values]
