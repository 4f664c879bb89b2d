"""Expressions that each database writes in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

Key = tuple[str, int]
"""A step by its session and number; steps are walked in the order of their keys."""

START: Key = ("", -1)
"""Comes before every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """SQL with a place ``{0}`` for a column, and ``{1}`` for a second one."""

    differ: str
    """Says whether two columns differ; two that are NULL do not."""
    octets: str
    """The number of bytes of a document, as UTF-8."""
    document: str
    """A document as text, or as bytes where the text need not be UTF-8."""
    instant: str
    """A time as text that the database reads back exactly."""
    day: str
    """The day of a time, in UTC."""
    has_row_values: bool = True
    """Whether an index serves ``(session_id, step) > (%s, %s)``."""

    def after(self, key: Key) -> tuple[str, list[Any]]:
        """Return the condition, with its parameters, that a step comes after ``key``."""
        return self._compared(">", ">", key)

    def up_to(self, key: Key) -> tuple[str, list[Any]]:
        """Return the condition, with its parameters, that a step is ``key`` or before it."""
        return self._compared("<", "<=", key)

    def _compared(self, strict: str, operator: str, key: Key) -> tuple[str, list[Any]]:
        session_id, step = key
        if self.has_row_values:
            return f"(session_id, step) {operator} (%s, %s)", [session_id, step]
        return (
            f"(session_id {strict} %s OR (session_id = %s AND step {operator} %s))",
            [session_id, session_id, step],
        )


_DIALECTS = {
    "mysql": Dialect(
        differ="NOT ({0} <=> {1})",
        octets="OCTET_LENGTH({0})",
        document="{0}",
        instant="CAST({0} AS CHAR)",
        day="DATE({0})",
        has_row_values=False,
    ),
    "postgresql": Dialect(
        differ="{0}::text IS DISTINCT FROM {1}::text",
        octets="OCTET_LENGTH({0}::text)",
        document="{0}::text",
        instant="{0}::text",
        day="({0} AT TIME ZONE 'UTC')::date",
    ),
    "sqlite": Dialect(
        differ="{0} IS NOT {1}",
        octets="LENGTH(CAST({0} AS BLOB))",
        document="CAST({0} AS BLOB)",
        instant="CAST({0} AS TEXT)",
        day="DATE({0})",
    ),
}


def get_dialect(connection: BaseDatabaseWrapper) -> Dialect:
    """Return the expressions of a supported database."""
    return _DIALECTS[connection.vendor]
