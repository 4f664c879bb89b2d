"""Pages of sessions, of the small columns alone."""

from __future__ import annotations

from collections.abc import Iterator
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
    """Sessions that can be narrowed, counted and sliced, a statement each time.

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

    def count(self) -> int:
        """Return how many there are."""
        ((number,),) = self._select("COUNT(*)")
        return int(number)

    def first(self) -> dict[str, Any] | None:
        """Return the first, or ``None``."""
        return next(iter(self[:1]), None)

    def __getitem__(self, page: slice) -> list[dict[str, Any]]:
        start = page.start or 0
        columns = [
            self.backend.text(each) if each == "last_frontier" else each for each in SMALL_COLUMNS
        ]
        end = f" ORDER BY {self.order} LIMIT %s OFFSET %s"
        rows = self._select(", ".join(columns), end, page.stop - start, start)
        return [self._session(row) for row in rows]

    def _session(self, row: tuple[Any, ...]) -> dict[str, Any]:
        session = dict(zip(SMALL_COLUMNS, row, strict=True))
        for name in ("created_at", "updated_at"):
            session[name] = in_utc(session[name])
        if session["last_frontier"] is not None:
            session["last_frontier"] = loads_json(session["last_frontier"])
        return session

    def _select(self, columns: str, end: str = "", *parameters: int) -> list[tuple[Any, ...]]:
        where = " AND ".join([sql for sql, _value in self.conditions]) or "1 = 1"
        connection = self.backend.connection
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM {SESSION} WHERE {where}{end}",
                [*self._values(), *parameters],
            )
            return list(cursor.fetchall())

    def _values(self) -> Iterator[Any]:
        adapt = self.backend.connection.ops.adapt_datetimefield_value
        for _sql, value in self.conditions:
            yield adapt(value) if isinstance(value, datetime) else value
