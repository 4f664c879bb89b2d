"""SQL expressions that differ between the databases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.backends.rows import StepKey, to_db_timestamp


class Expressions(ABC):
    """The SQL expressions of one connection."""

    now: str
    """The current time in UTC, in the format of the database's columns."""
    has_row_values = True
    """Whether an index serves ``(session_id, step) > (%s, %s)``."""
    labels_as_json = "json_object_agg(label.key, label.value)::text"
    """The labels in a group of rows of ``label`` as JSON text; SQL."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    def json_as_text(self, column: str) -> str:
        """Return a JSON column as text."""
        return column

    def json_as_stored(self, column: str) -> str:
        """Return a JSON column as text, or as bytes where the database allows bad UTF-8."""
        return self.json_as_text(column)

    def octet_length(self, column: str) -> str:
        """Return the number of bytes of a JSON column, as UTF-8."""
        return f"OCTET_LENGTH({self.json_as_text(column)})"

    def utc_as_text(self, column: str) -> str:
        """Return a timestamp as text in UTC without an offset; see ``from_utc_text``."""
        return self.timestamp_as_text(column)

    def from_utc_text(self, text: str) -> str:
        """Return a parameter that equals the timestamp of ``utc_as_text``, stored or computed."""
        return text

    def to_bound(self, value: datetime, *, is_upper: bool) -> Any:
        """Return a UTC timestamp as a parameter that bounds a column, itself included."""
        return to_db_timestamp(value, self.connection)

    @abstractmethod
    def timestamp_as_text(self, column: str) -> str:
        """Return a timestamp as text that the database reads back exactly."""

    def utc_date(self, column: str) -> str:
        """Return the date of a timestamp, in UTC."""
        return f"DATE({column})"

    @abstractmethod
    def is_distinct(self, left: str, right: str) -> str:
        """Return the condition that two columns differ; two NULLs do not differ."""

    def without_index(self, column: str) -> str:
        """Return a column for a condition that no index may serve."""
        return column

    def get_read_lock(self) -> str:
        """Return the suffix of a SELECT that must not read from an older snapshot."""
        return ""

    def compare_key(self, operator: str, key: StepKey) -> tuple[str, list[Any]]:
        """Return the condition that a step is ``>`` or ``<=`` a key, and its parameters."""
        session_id, step = key
        if self.has_row_values:
            return f"(session_id, step) {operator} (%s, %s)", [session_id, step]
        return (
            f"(session_id {operator[0]} %s OR (session_id = %s AND step {operator} %s))",
            [session_id, session_id, step],
        )
