"""The tables and rows of the crate, and the limits of what it can read."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.domain.state import VersionedState
from weavegraph_checkpoints.exceptions import InterchangeError, SerializationError

SESSION_COLUMNS = (
    "id",
    "created_at",
    "updated_at",
    "concurrency_limit",
    "last_step",
    "last_state_json",
    "last_frontier_json",
    "last_versions_seen_json",
)
STEP_COLUMNS = (
    "session_id",
    "step",
    "created_at",
    "state_json",
    "frontier_json",
    "versions_seen_json",
    "ran_nodes_json",
    "skipped_nodes_json",
    "updated_channels_json",
)
TABLES = {"sessions": SESSION_COLUMNS, "steps": STEP_COLUMNS}

SQLITE_TABLE = (
    "SELECT type = 'table' AND rootpage > 0 FROM sqlite_master"
    " WHERE type IN ('table', 'view') AND name LIKE ?"
)
"""Selects whether a name is a table in SQLite, and not a view or a virtual table."""
SQLITE_COLUMNS = "SELECT name FROM pragma_table_info(?)"
"""Selects the names of the columns of a table in SQLite, without generated columns."""

CRATE_TRIGGER = "trg_steps_after_insert"

SCHEMA = (
    """CREATE TABLE sessions (
    id                      TEXT    PRIMARY KEY,
    created_at              TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    updated_at              TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    concurrency_limit       INTEGER NOT NULL,
    last_step               INTEGER NOT NULL DEFAULT 0,
    last_state_json         TEXT,
    last_frontier_json      TEXT,
    last_versions_seen_json TEXT
)""",
    """CREATE INDEX idx_sessions_updated_at
    ON sessions(updated_at DESC)""",
    """CREATE TABLE steps (
    session_id            TEXT    NOT NULL,
    step                  INTEGER NOT NULL,
    created_at            TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    state_json            TEXT    NOT NULL,
    frontier_json         TEXT    NOT NULL,
    versions_seen_json    TEXT    NOT NULL,
    ran_nodes_json        TEXT    NOT NULL,
    skipped_nodes_json    TEXT    NOT NULL,
    updated_channels_json TEXT,
    PRIMARY KEY (session_id, step),
    FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
)""",
    """CREATE INDEX idx_steps_session_id_step
    ON steps(session_id, step DESC)""",
    f"""CREATE TRIGGER {CRATE_TRIGGER}
AFTER INSERT ON steps
BEGIN
    UPDATE sessions
    SET updated_at              = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
        last_step               = NEW.step,
        last_state_json         = NEW.state_json,
        last_frontier_json      = NEW.frontier_json,
        last_versions_seen_json = NEW.versions_seen_json
    WHERE id = NEW.session_id;
END""",
)
"""What the crate creates in a SQLite file."""

MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1
MAX_LEVELS = 127
"""How deep serde_json reads a document; the state itself is level 1."""

_FINER_THAN_NANOSECONDS = re.compile(r"\.\d{10,}Z\Z")


class CrateSession(NamedTuple):
    """A row of ``sessions``, as it is stored; see ``Source``."""

    created_at: Any
    updated_at: Any
    concurrency_limit: Any


class CrateStep(NamedTuple):
    """A row of ``steps`` without its session; one from a ``Source`` is not validated."""

    step: Any
    created_at: Any
    state: Any
    frontier: Any
    versions_seen: Any
    ran_nodes: Any
    skipped_nodes: Any
    updated_channels: Any

    @property
    def size(self) -> int:
        """The length of the state, which is about the memory that the row takes."""
        return len(self.state) if isinstance(self.state, str | bytes) else 0


DOCUMENTS = CrateStep._fields[2:]
"""The fields of a step that are JSON."""


def check_schema(
    name: str,
    fetch_all: Callable[[str, str], Sequence[tuple[Any, ...]]],
    table_sql: str,
    columns_sql: str,
) -> None:
    """Raise ``InterchangeError`` unless a database has the tables and columns of the crate.

    ``table_sql`` selects whether a name is a table, ``columns_sql`` the names of its columns.
    """
    for table, columns in TABLES.items():
        is_table = fetch_all(table_sql, table)
        if not is_table:
            raise InterchangeError(f"{name} is not a database of weavegraph: no table {table!r}")
        if not is_table[0][0]:
            raise InterchangeError(
                f"{name} is not a database of weavegraph: {table!r} is not a table"
            )
        found = [column for (column,) in fetch_all(columns_sql, table)]
        missing = [
            column for column in columns if column not in found and column.encode() not in found
        ]
        if missing:
            raise InterchangeError(
                f"{name} is not a database of weavegraph 0.7: the table {table!r} has no column "
                f"{', '.join(map(repr, missing))}"
            )


def format_timestamp(value: datetime) -> str:
    """Return a timestamp in UTC as text for the crate's SQLite columns.

    It has milliseconds, as the crate writes it, or microseconds if the value has them.
    """
    precision = "microseconds" if value.microsecond % 1000 else "milliseconds"
    return f"{value.replace(tzinfo=None).isoformat(timespec=precision)}Z"


def check_crate_limits(document: object, state: VersionedState) -> None:
    """Raise ``SerializationError`` if the crate would alter a state, or not read it.

    The crate reads an integer beyond 64 bits as a float, truncates an error's ``when`` to
    nanoseconds, and refuses a document of more than ``MAX_LEVELS`` levels.
    """
    _check_value(document, "$.state", MAX_LEVELS)
    for index, event in enumerate(state.errors.items):
        if _FINER_THAN_NANOSECONDS.search(event.when):
            raise SerializationError(
                "the crate truncates timestamps to nanoseconds",
                f"$.state.errors.items[{index}].when",
            )


def _check_value(value: Any, path: str, levels: int) -> None:
    kind = type(value)
    if kind is dict or kind is list:
        if levels == 0:
            raise SerializationError(f"the crate reads up to {MAX_LEVELS} levels", path)
        for key, item in value.items() if kind is dict else enumerate(value):
            if type(item) is not str:
                _check_value(item, join_json_path(path, key), levels - 1)
    elif kind is int and not MIN_INTEGER <= value <= MAX_INTEGER:
        raise SerializationError("the crate reads integers of up to 64 bits", path)
