"""Databases like those of the crate, and the real ones in ``tests/data``."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.service.test_recorded_runs import Replay
from weavegraph_checkpoints import Checkpoint, serde
from weavegraph_checkpoints.serde import dumps_nodes

DATA = Path(__file__).parent.parent / "data"
REAL_FILE = DATA / "weavegraph.sqlite3"
REAL_DUMP = DATA / "weavegraph.postgres.sql"

NO_RECORDED_RUNS = "WEAVEGRAPH_TEST_DATA names no directory with trajectories/runs.jsonl.gz"


def read_by_crate(kind: str) -> dict[str, Any]:
    """Return what the crate read back from the real databases, by session."""
    text = (DATA / f"read-by-crate.{kind}.json").read_text(encoding="utf-8")
    sessions: dict[str, Any] = json.loads(text)
    return sessions


def recorded_histories() -> Iterator[Checkpoint]:
    """Yield the checkpoints of all recorded runs; none where they are not at hand."""
    folder = os.environ.get("WEAVEGRAPH_TEST_DATA")
    path = Path(folder or "-") / "trajectories" / "runs.jsonl.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield from Replay(json.loads(line))


@cache
def schema() -> str:
    """Return the statements that the crate made its SQLite file with."""
    with closing(sqlite3.connect(f"{REAL_FILE.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return ";\n".join(sql for (sql,) in rows)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for reading and writing, in autocommit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def crate_file(path: Path, checkpoints: Iterable[Checkpoint] = ()) -> Path:
    """Make a file with the crate's schema, and save checkpoints as the crate does."""
    with opened(path) as connection:
        connection.executescript(schema())
        connection.execute("BEGIN")
        for checkpoint in checkpoints:
            crate_save(connection, checkpoint)
        connection.execute("COMMIT")
    return path


def crate_save(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    """Save as the crate does: its trigger moves the snapshot to what was saved last."""
    connection.execute(
        "INSERT OR IGNORE INTO sessions (id, concurrency_limit) VALUES (?, ?)",
        [checkpoint.session_id, checkpoint.concurrency_limit],
    )
    connection.execute(
        "INSERT OR REPLACE INTO steps (session_id, step, created_at, state_json, frontier_json,"
        " versions_seen_json, ran_nodes_json, skipped_nodes_json, updated_channels_json)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            checkpoint.session_id,
            checkpoint.step,
            f"{checkpoint.created_at.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
            serde.dumps_state(checkpoint.state).decode(),
            dumps_nodes(checkpoint.frontier),
            json.dumps(checkpoint.versions_seen),
            dumps_nodes(checkpoint.ran_nodes),
            dumps_nodes(checkpoint.skipped_nodes),
            json.dumps(checkpoint.updated_channels),
        ],
    )


def rows_of(path: Path, table: str, order: str = "1, 2") -> list[tuple[Any, ...]]:
    """Return all rows of a table of a file."""
    with opened(path) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()


def times_of(path: Path) -> dict[str, tuple[datetime, datetime]]:
    """Return when each session of a file was created and updated."""
    return {
        row[0]: (datetime.fromisoformat(row[1]), datetime.fromisoformat(row[2]))
        for row in rows_of(path, "sessions")
    }
