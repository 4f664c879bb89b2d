"""Generated damage: an import is exact, or fails and leaves no session incomplete."""

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
from tests.interchange.crate_databases import REAL_FILE, create_crate_file, get_rows, open_file
from tests.interchange.stored_histories import (
    assert_stored,
    delete_all,
    group_by_session,
    load_histories,
)
from tests.strategies import a_full_checkpoint, checkpoints
from weavegraph_checkpoints import Checkpoint
from weavegraph_checkpoints.interchange.crate import TABLES

pytestmark = pytest.mark.usefixtures("tables")

SIZE = REAL_FILE.stat().st_size
EXAMPLES = settings(max_examples=40 if connection.vendor == "sqlite" else 10)
COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns]
OFFSETS = st.integers(0, 8191) | st.integers(0, SIZE - 1)


def steps_by_session(path: Path) -> dict[str, set[Any]]:
    """Return the numbers of the steps in a file, by session."""
    found: dict[str, set[Any]] = {}
    with open_file(path) as crate:
        crate.text_factory = bytes
        for session_id, step in crate.execute("SELECT session_id, step FROM steps"):
            text = session_id.decode(errors="replace") if isinstance(session_id, bytes) else ""
            found.setdefault(text, set()).add(step)
    return found


def import_or_get_error(path: Path, *args: str) -> str:
    """Import; return the error, if any. What was imported is consistent."""
    delete_all()
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


def assert_sessions_complete(path: Path) -> None:
    """Fail unless each imported session has all its steps of the file."""
    source = steps_by_session(path) if load_histories() else {}
    for session_id, history in load_histories().items():
        # A session without steps is imported with its snapshot as its only step.
        steps = source.get(session_id) or {checkpoint.step for checkpoint in history[:1]}
        assert {checkpoint.step for checkpoint in history} == steps


@EXAMPLES
@given(st.lists(st.tuples(OFFSETS, st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bits(flips: list[tuple[int, int]]) -> None:
    content = bytearray(REAL_FILE.read_bytes())
    for place, bits in flips:
        content[place] ^= bits
    with TemporaryDirectory() as folder:
        path = Path(folder) / "crate.sqlite3"
        path.write_bytes(content)
        for args in ([], ["--skip-invalid"]):
            import_or_get_error(path, *args)
            assert_sessions_complete(path)


@EXAMPLES
@given(st.integers(0, SIZE - 1))
@example(0)
@example(100)
@example(4096)
def test_a_file_that_was_cut(size: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "crate.sqlite3"
        path.write_bytes(REAL_FILE.read_bytes()[:size])
        assert import_or_get_error(path)
        whole = steps_by_session(REAL_FILE)
        for session_id, history in load_histories().items():
            assert {checkpoint.step for checkpoint in history} == whole[session_id]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_column_that_is_missing(tmp_path: Path, table: str, column: str) -> None:
    path = Path(shutil.copy(REAL_FILE, tmp_path))
    with open_file(path) as crate:
        crate.executescript(
            "DROP TRIGGER trg_steps_after_insert; DROP INDEX idx_sessions_updated_at;"
            "DROP INDEX idx_steps_session_id_step; PRAGMA writable_schema = on;"
        )
        crate.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
    assert f"table '{table}' has no column '{column}'" in import_or_get_error(path)
    assert load_histories() == {}


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
        with open_file(path) as crate:
            key = "session_id" if table == "steps" else "id"
            try:
                crate.execute(
                    f"UPDATE {table} SET {name} = ? WHERE rowid ="
                    f" (SELECT rowid FROM {table} WHERE {key} = ? LIMIT 1)",
                    [value, session_id],
                )
            except (sqlite3.Error, UnicodeEncodeError):
                return  # SQLite does not hold it either.
        error = import_or_get_error(path, "--skip-invalid")
        assert_sessions_complete(path)
        known = {row[0] for row in get_rows(REAL_FILE, "sessions")}
        missing = known - set(load_histories())
        assert missing <= {session_id}
        assert not missing or error.startswith("left out: session ")


@EXAMPLES
@given(st.lists(checkpoints(), max_size=6))
@example([a_full_checkpoint()])
def test_whatever_a_checkpoint_holds_comes_in(history: list[Checkpoint]) -> None:
    delete_all()
    with TemporaryDirectory() as folder:
        path = create_crate_file(Path(folder) / "crate.sqlite3", history)
        run("import_weavegraph", str(path))
        assert_stored(group_by_session(map(checkpoint_as_read, history)))
        assert "imported 0 steps" in run("import_weavegraph", str(path)).out
