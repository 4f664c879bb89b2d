"""Damaged sources, generated: an import is exact, or it is an error and leaves nothing half."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.assertions import checkpoint_as_read
from tests.builders import orphans, wrong_snapshots
from tests.commands.runner import run
from tests.interchange.crate import REAL_FILE, crate_file, opened, rows_of
from tests.interchange.stored import assert_stored, by_session, histories
from tests.strategies import a_full_checkpoint, checkpoints
from weavegraph_checkpoints import Checkpoint
from weavegraph_checkpoints.interchange.crate import TABLES
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.usefixtures("tables")

SIZE = REAL_FILE.stat().st_size
EXAMPLES = settings(max_examples=40 if connection.vendor == "sqlite" else 10)
COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns]
PLACES = st.integers(0, 8191) | st.integers(0, SIZE - 1)


def emptied() -> None:
    for model in (Step, Session):
        model.objects.all().delete()


def steps_by_session(path: Path) -> dict[str, set[Any]]:
    """Return what steps a file has, whatever else is in their rows."""
    found: dict[str, set[Any]] = {}
    with opened(path) as crate:
        crate.text_factory = bytes
        for session_id, step in crate.execute("SELECT session_id, step FROM steps"):
            text = session_id.decode(errors="replace") if isinstance(session_id, bytes) else ""
            found.setdefault(text, set()).add(step)
    return found


def tried(path: Path, *args: str) -> str:
    """Import; return the error if there is one. Nothing may be half there."""
    emptied()
    before = path.read_bytes()
    try:
        error = run("import_weavegraph", str(path), *args).err
    except CommandError as raised:
        error = str(raised)
        assert raised.returncode == 1
        assert error
    assert path.read_bytes() == before
    assert wrong_snapshots() == []
    assert orphans() == []
    return error


def assert_nothing_half(path: Path) -> None:
    """Each session that came in has all the steps that the file has of it."""
    source = steps_by_session(path) if histories() else {}
    for session_id, history in histories().items():
        # A session without steps brings its snapshot.
        steps = source.get(session_id) or {checkpoint.step for checkpoint in history[:1]}
        assert {checkpoint.step for checkpoint in history} == steps


@EXAMPLES
@given(st.lists(st.tuples(PLACES, st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bits(flips: list[tuple[int, int]]) -> None:
    content = bytearray(REAL_FILE.read_bytes())
    for place, bits in flips:
        content[place] ^= bits
    with TemporaryDirectory() as folder:
        path = Path(folder) / "crate.sqlite3"
        path.write_bytes(content)
        for args in ([], ["--skip-invalid"]):
            tried(path, *args)
            assert_nothing_half(path)


@EXAMPLES
@given(st.integers(0, SIZE - 1))
@example(0)
@example(100)
@example(4096)
def test_a_file_that_was_cut(size: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "crate.sqlite3"
        path.write_bytes(REAL_FILE.read_bytes()[:size])
        assert tried(path)
        whole = steps_by_session(REAL_FILE)
        for session_id, history in histories().items():
            assert {checkpoint.step for checkpoint in history} == whole[session_id]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_column_that_is_missing(tmp_path: Path, table: str, column: str) -> None:
    path = Path(shutil.copy(REAL_FILE, tmp_path))
    with opened(path) as crate:
        crate.executescript(
            "DROP TRIGGER trg_steps_after_insert; DROP INDEX idx_sessions_updated_at;"
            "DROP INDEX idx_steps_session_id_step; PRAGMA writable_schema = on;"
        )
        crate.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
    assert f"table '{table}' has no column '{column}'" in tried(path)
    assert histories() == {}


WRONG = ["", "{", "[", "[]", "{}", "null", "1", '"End"', '["End"', "[1]", '[["End"]]', "1e400"]
DOCUMENTS = ['{"messages":{},"extra":{}}', '{"a":{"b":-1}}', '{"a":{"b":1.5}}', '{"a":1}']
TEXTS = st.text(max_size=40) | st.sampled_from([*WRONG, *DOCUMENTS, "[" * 5000])
VALUES = TEXTS | st.binary(max_size=40) | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.none()


@EXAMPLES
@given(
    st.sampled_from(COLUMNS),
    VALUES,
    st.sampled_from(["conversation", "late", "zero", "á", "run"]),
)
def test_a_value_that_is_wrong(column: tuple[str, str], value: Any, session_id: str) -> None:
    table, name = column
    with TemporaryDirectory() as folder:
        path = Path(shutil.copy(REAL_FILE, folder))
        with opened(path) as crate:
            key = "session_id" if table == "steps" else "id"
            try:
                crate.execute(
                    f"UPDATE {table} SET {name} = ? WHERE rowid ="
                    f" (SELECT rowid FROM {table} WHERE {key} = ? LIMIT 1)",
                    [value, session_id],
                )
            except (sqlite3.Error, UnicodeEncodeError):
                return  # SQLite does not hold it either.
        error = tried(path, "--skip-invalid")
        assert_nothing_half(path)
        known = {row[0] for row in rows_of(REAL_FILE, "sessions")}
        missing = known - set(histories())
        assert missing <= {session_id}
        assert not missing or error.startswith("left out: session ")


@EXAMPLES
@given(st.lists(checkpoints(), max_size=6))
@example([a_full_checkpoint()])
def test_whatever_a_checkpoint_holds_comes_in(history: list[Checkpoint]) -> None:
    emptied()
    with TemporaryDirectory() as folder:
        path = crate_file(Path(folder) / "crate.sqlite3", history)
        run("import_weavegraph", str(path))
        assert_stored(by_session(map(checkpoint_as_read, history)))
        assert "imported 0 steps" in run("import_weavegraph", str(path)).out
