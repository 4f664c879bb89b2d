"""Create databases like those of the crate, and find the real ones in ``tests/data``."""

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


def load_crate_results(kind: str) -> dict[str, Any]:
    """Return what the crate read back from the real databases, by session."""
    text = (DATA / f"read-by-crate.{kind}.json").read_text(encoding="utf-8")
    sessions: dict[str, Any] = json.loads(text)
    return sessions


def iter_recorded_checkpoints() -> Iterator[Checkpoint]:
    """Yield the checkpoints of all recorded runs; none without ``WEAVEGRAPH_TEST_DATA``."""
    folder = os.environ.get("WEAVEGRAPH_TEST_DATA")
    path = Path(folder or "-") / "trajectories" / "runs.jsonl.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield from Replay(json.loads(line))


@cache
def get_schema() -> str:
    """Return the SQL of the schema of the crate's SQLite file."""
    with closing(sqlite3.connect(f"{REAL_FILE.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return ";\n".join(sql for (sql,) in rows)


@contextmanager
def open_file(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for reading and writing, in autocommit."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def create_crate_file(path: Path, checkpoints: Iterable[Checkpoint] = ()) -> Path:
    """Create a file with the crate's schema, and save checkpoints as the crate does."""
    with open_file(path) as connection:
        connection.executescript(get_schema())
        connection.execute("BEGIN")
        for checkpoint in checkpoints:
            save_as_crate(connection, checkpoint)
        connection.execute("COMMIT")
    return path


def save_as_crate(connection: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    """Save as the crate does; its trigger sets the snapshot to the step that was saved last."""
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


def get_rows(path: Path, table: str, order: str = "1, 2") -> list[tuple[Any, ...]]:
    """Return all rows of a table of a file."""
    with open_file(path) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()


def get_file_timestamps(path: Path) -> dict[str, tuple[datetime, datetime]]:
    """Return when each session of a file was created and updated."""
    return {
        row[0]: (datetime.fromisoformat(row[1]), datetime.fromisoformat(row[2]))
        for row in get_rows(path, "sessions")
    }
