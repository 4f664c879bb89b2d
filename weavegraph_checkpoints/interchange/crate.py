"""What the crate's tables are, and what the crate cannot hold."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.domain.state import VersionedState
from weavegraph_checkpoints.exceptions import SerializationError

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
    """CREATE TRIGGER trg_steps_after_insert
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
"""The tables, indexes and trigger of a SQLite file that the crate made."""

MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1
MAX_LEVELS = 127
"""serde_json refuses a document from level 128 on; the whole state is level 1."""

_TOO_FINE = re.compile(r"\.\d{10,}Z\Z")


def to_text(instant: datetime) -> str:
    """Return a time as the crate's SQLite columns hold it.

    With milliseconds as the crate itself writes it, or with microseconds where it has
    them.
    """
    text = timestamps.to_text(instant)
    if instant.microsecond == 0:
        return f"{text[:-1]}.000Z"
    return text.replace("000Z", "Z") if instant.microsecond % 1000 == 0 else text


def check_holdable(document: object, state: VersionedState) -> None:
    """Raise ``SerializationError`` for what the crate would alter, or not read, in a state.

    It reads an integer beyond 64 bits as a float, cuts what is finer than a nanosecond,
    and refuses a document of more than 127 levels.
    """
    _check(document, "$.state", MAX_LEVELS)
    for position, event in enumerate(state.errors.items):
        if _TOO_FINE.search(event.when):
            raise SerializationError(
                "the crate cuts a time to the nanosecond", f"$.state.errors.items[{position}].when"
            )


def _check(value: Any, path: str, levels: int) -> None:
    kind = type(value)
    if kind is dict or kind is list:
        if levels == 0:
            raise SerializationError(f"the crate reads no more than {MAX_LEVELS} levels", path)
        for key, item in value.items() if kind is dict else enumerate(value):
            if type(item) is not str:
                _check(item, join_json_path(path, key), levels - 1)
    elif kind is int and not MIN_INTEGER <= value <= MAX_INTEGER:
        raise SerializationError("the crate reads integers of up to 64 bits", path)
