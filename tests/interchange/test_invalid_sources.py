"""Sources that are invalid, damaged or in use: the error is clear, and nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import CommandError
from django.db import connection

from tests.builders import a_history, everything_stored
from tests.commands.runner import run
from tests.interchange.crate_databases import create_crate_file, get_rows, open_file, save_as_crate
from tests.interchange.stored_histories import (
    assert_stored,
    group_by_session,
    load_histories,
    load_history,
)
from weavegraph_checkpoints import Checkpoint
from weavegraph_checkpoints.interchange import open_source
from weavegraph_checkpoints.interchange.sources import sqlite
from weavegraph_checkpoints.models import Session

pytestmark = pytest.mark.usefixtures("tables")


def build_two_sessions() -> list[Checkpoint]:
    return [*a_history("bad", range(1, 6)), *a_history("good", range(3))]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return create_crate_file(tmp_path / "crate.sqlite3", build_two_sessions())


def execute(path: Path, *statements: str) -> None:
    with open_file(path) as crate:
        for statement in statements:
            crate.execute(statement)


def get_import_error(path: Path | str, *args: str) -> str:
    """Return the error of an import."""
    with pytest.raises(CommandError) as raised:
        run("import_weavegraph", str(path), *args)
    assert raised.value.returncode == 1
    return str(raised.value)


# Files that are not a database of the crate


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    assert "there is no file" in get_import_error(tmp_path / "none.sqlite3")
    assert "there is no file" in get_import_error(tmp_path / "no" / "folder.sqlite3")
    assert "is not a regular file" in get_import_error(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 500])
def test_what_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "crate.sqlite3"
    path.write_bytes(content)
    assert "crate.sqlite3' cannot be opened: " in get_import_error(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_no_database_of_the_crate(tmp_path: Path) -> None:
    path = tmp_path / "crate.sqlite3"
    path.touch()
    assert "no table 'sessions'" in get_import_error(path)
    assert path.stat().st_size == 0


@pytest.mark.parametrize("table", ["sessions", "steps"])
def test_another_schema(source: Path, table: str) -> None:
    execute(source, f"ALTER TABLE {table} RENAME TO others")
    assert f"is not a database of weavegraph: no table '{table}'" in get_import_error(source)


def test_odd_names_of_files(tmp_path: Path) -> None:
    path = create_crate_file(tmp_path / "a?b#c%41 'd'.sqlite3", build_two_sessions())
    run("import_weavegraph", str(path))
    assert_stored(group_by_session(build_two_sessions()))


# Invalid rows


INVALID_VALUES = {
    "state_json = '{'": r"step 3: .*\$\.state",
    "state_json = 'null'": r"step 3: .*\$\.state",
    "state_json = CAST(x'ff' AS TEXT)": r"step 3: not valid UTF-8",
    "state_json = json_remove(state_json, '$.extra')": r"step 3: .*\$\.state\.extra",
    "state_json = json_set(state_json, '$.messages.items[0].role', 7)": r"items\[0\]\.role",
    'state_json = replace(state_json, \'"map":{\', \'"map":{"x":1e400\')': r"\$\.state",
    "frontier_json = '[1]'": r"\$\.frontier",
    "frontier_json = '[\"Custom:\\u0000\"]'": r"\$\.frontier\[0\]",
    'versions_seen_json = \'{"a":{"b":18446744073709551616}}\'': r"\$\.versions_seen",
    "ran_nodes_json = ''": r"\$\.ran_nodes",
    "skipped_nodes_json = '{}'": r"\$\.skipped_nodes",
    "updated_channels_json = '[null]'": r"\$\.updated_channels",
    "created_at = 'yesterday'": r"\$\.created_at",
    "created_at = '2026-01-01 00:00:00'": r"\$\.created_at",
    "step = -3": r"step -3: not a step number",
    "step = 3.5": r"step 3\.5: not a step number",
    "step = 'three'": r"step b'three': not a step number",
}


@pytest.mark.parametrize("change", INVALID_VALUES)
def test_a_row_that_cannot_be_read(source: Path, change: str) -> None:
    execute(source, f"UPDATE steps SET {change} WHERE session_id = 'bad' AND step = 3")
    before = source.read_bytes()
    message = get_import_error(source)
    assert "session 'bad', " in message
    assert re.search(INVALID_VALUES[change], message), message
    assert everything_stored() == ([], [], [])
    ran = run("import_weavegraph", str(source), "--skip-invalid")
    assert ran.status == 0
    assert ran.err.startswith("left out: session 'bad', ")
    assert ran.out.endswith("1 session left out\n")
    assert_stored(group_by_session(build_two_sessions()[5:]))
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "created_at = ''",
        "updated_at = '1.1.2026'",
        "concurrency_limit = -1",
        "concurrency_limit = 'x'",
    ],
)
def test_a_session_that_cannot_be_read(source: Path, change: str) -> None:
    execute(source, f"UPDATE sessions SET {change} WHERE id = 'bad'")
    assert "session 'bad': " in get_import_error(source)
    run("import_weavegraph", str(source), "--skip-invalid")
    assert list(load_histories()) == ["good"]


@pytest.mark.parametrize(
    "session_id", ["''", "CAST(x'6100' AS TEXT)", f"'{'x' * 256}'", "CAST(x'ff' AS TEXT)", "x'61'"]
)
def test_an_id_that_does_not_fit(source: Path, session_id: str) -> None:
    execute(
        source,
        f"UPDATE sessions SET id = {session_id} WHERE id = 'bad'",
        f"UPDATE steps SET session_id = {session_id} WHERE session_id = 'bad'",
    )
    assert "session_id" in get_import_error(source)
    ran = run("import_weavegraph", str(source), "--skip-invalid")
    assert "left out: session " in ran.err
    assert_stored(group_by_session(build_two_sessions()[5:]))


def test_steps_without_a_session_are_not_passed_over(source: Path) -> None:
    execute(source, "DELETE FROM sessions WHERE id = 'bad'")
    assert "session 'bad': steps without a session" in get_import_error(source)
    assert list(load_histories()) == ["good"]
    ran = run("import_weavegraph", str(source), "--skip-invalid")
    assert ran.err == "left out: session 'bad': steps without a session\n"


def test_each_row_that_cannot_be_read_is_listed(source: Path) -> None:
    execute(source, "UPDATE steps SET frontier_json = '' WHERE step < 3")
    ran = run("import_weavegraph", str(source), "--skip-invalid")
    assert [line.partition(": malformed")[0].split(": ")[1] for line in ran.err.splitlines()] == [
        f"session {session_id!r}, step {step}"
        for session_id, step in [("bad", 2), ("bad", 1), ("good", 2), ("good", 1), ("good", 0)]
    ]
    assert load_histories() == {}


# Concurrent writers


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_writer_in_the_middle_of_a_transaction(source: Path, mode: str) -> None:
    with open_file(source) as writer:
        writer.execute(f"PRAGMA journal_mode = {mode}")
        writer.execute("BEGIN IMMEDIATE")
        save_as_crate(writer, a_history("good", [3])[0])
        run("import_weavegraph", str(source))
        assert_stored(group_by_session(build_two_sessions()))
        writer.execute("COMMIT")
        assert "imported 1 step" in run("import_weavegraph", str(source)).out
    assert len(load_history("good")) == 4


def test_wal_that_is_not_in_the_file_yet_is_read(source: Path) -> None:
    with open_file(source) as writer:
        writer.execute("PRAGMA journal_mode = wal")
        save_as_crate(writer, a_history("new", [1])[0])
        assert source.with_name("crate.sqlite3-wal").stat().st_size > 0
        run("import_weavegraph", str(source))
        assert len(load_history("new")) == 1


def test_a_writer_that_has_the_file_to_itself_is_waited_for(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(source, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(0.5, writer.execute, ["COMMIT"])
        timer.start()
        run("import_weavegraph", str(source))
        timer.join()
        assert len(load_histories()) == 2
        writer.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite, "TIMEOUT_SECONDS", 0.1)
        assert "cannot be opened: database is locked" in get_import_error(source)


def test_a_read_does_not_keep_a_writer_waiting(source: Path) -> None:
    with open_source(str(source)) as read, open_file(source) as writer:
        pages = read.iter_step_pages("bad")
        assert len(next(pages)) == 5
        ids = read.iter_session_ids()
        next(ids)
        writer.execute("PRAGMA busy_timeout = 0")
        save_as_crate(writer, a_history("good", [3])[0])


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root can write to any folder; .ci/run tests as an ordinary user too"
)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_folder_that_cannot_be_written_to(source: Path, mode: str) -> None:
    with open_file(source) as writer:
        writer.execute(f"PRAGMA journal_mode = {mode}")
    folder = source.parent
    source.chmod(0o444)
    folder.chmod(0o555)
    try:
        with open_source(str(source)) as read:
            assert read.count_steps() == 8
    finally:
        folder.chmod(0o755)
    assert [each.name for each in folder.iterdir()] == ["crate.sqlite3"]


def test_a_file_that_lost_its_writer_in_a_transaction(source: Path) -> None:
    script = (
        "import os, sqlite3, sys\n"
        "crate = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "crate.execute('PRAGMA cache_size = 1')\n"
        "crate.execute('BEGIN IMMEDIATE')\n"
        'crate.execute("UPDATE steps SET state_json = zeroblob(200000)")\n'
        "os._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(source)], check=False)
    assert source.with_name("crate.sqlite3-journal").exists()
    assert "cannot be opened" in get_import_error(source)
    assert everything_stored() == ([], [], [])
    assert len(get_rows(source, "steps")) == 8
    run("import_weavegraph", str(source))
    assert_stored(group_by_session(build_two_sessions()))


# Damage


def test_rows_out_of_order_end_the_import(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def iter_rows(*args: object) -> Iterator[tuple[object, ...]]:
        yield from ((step, *[None] * 7) for step in (3, 4))

    with open_source(str(source)) as read:
        monkeypatch.setattr(read, "iter_rows", iter_rows)
        with pytest.raises(Exception, match="damaged: its rows are out of order"):
            next(read.iter_step_pages("bad"))


def test_a_damaged_file_says_how_to_save_it(source: Path) -> None:
    content = bytearray(source.read_bytes())
    with open_file(source) as crate:
        ((root,),) = crate.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'idx_steps_session_id_step'"
        )
        ((size,),) = crate.execute("PRAGMA page_size")
    start = (root - 1) * size
    content[start + size - 200 : start + size] = bytes(200)
    source.write_bytes(content)
    assert ".recover" in get_import_error(source)
    assert everything_stored() == ([], [], [])


def test_the_session_is_gone_when_its_row_is_read(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite.SQLiteSource, "get_session", lambda *args: None)
    assert "deleted while it was read" in get_import_error(source)
    assert not Session.objects.exists()
    assert connection.is_usable()


# Views, virtual tables and generated columns in the place of the crate's


ENDLESS = (
    "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers)"
    " SELECT 'bad' AS session_id, n AS step, '' AS created_at, '' AS state_json,"
    " '' AS frontier_json, '' AS versions_seen_json, '' AS ran_nodes_json,"
    " '' AS skipped_nodes_json, '' AS updated_channels_json FROM numbers"
)


@pytest.mark.parametrize("table", ["sessions", "steps"])
@pytest.mark.parametrize(
    "definition",
    [
        "CREATE VIEW {0} AS SELECT * FROM others",
        "CREATE VIRTUAL TABLE {0} USING fts5 (id)",
    ],
)
def test_what_is_not_a_table_is_refused(source: Path, table: str, definition: str) -> None:
    execute(source, f"ALTER TABLE {table} RENAME TO others", definition.format(table))
    error = f"is not a database of weavegraph: '{table}' is not a table"
    assert error in get_import_error(source)
    assert load_histories() == {}


def test_an_endless_view_is_not_read(source: Path) -> None:
    execute(source, "DROP TABLE steps", f"CREATE VIEW steps AS {ENDLESS}")
    assert "'steps' is not a table" in get_import_error(source)


def test_a_generated_column_is_not_a_column_of_the_crate(source: Path) -> None:
    execute(
        source,
        "ALTER TABLE steps DROP COLUMN ran_nodes_json",
        "ALTER TABLE steps ADD COLUMN ran_nodes_json TEXT AS (hex(zeroblob(500000000)))",
    )
    assert "no column 'ran_nodes_json'" in get_import_error(source)


def test_triggers_of_the_source_do_not_run(source: Path) -> None:
    execute(
        source,
        "CREATE TRIGGER evil AFTER INSERT ON steps BEGIN DELETE FROM sessions; END",
        "CREATE TRIGGER steps AFTER UPDATE ON steps BEGIN DELETE FROM sessions; END",
    )
    run("import_weavegraph", str(source))
    assert_stored(group_by_session(build_two_sessions()))


def test_the_second_sigint_ends_a_statement(source: Path) -> None:
    received: list[int] = []

    def handle(*args: object) -> None:
        received.append(1)
        if len(received) == 2:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    timers = [threading.Timer(seconds, signal.raise_signal, [signal.SIGINT]) for seconds in (1, 2)]
    try:
        with open_source(str(source)) as opened:
            for timer in timers:
                timer.start()
            with pytest.raises(KeyboardInterrupt):
                opened.fetch_all(f"SELECT COUNT(*) FROM ({ENDLESS})")
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(received) == 2


# Paths that are not files


@pytest.mark.parametrize("suffix", ["", "-wal", "-journal"])
def test_a_fifo_is_refused_at_once(source: Path, suffix: str) -> None:
    path = source if suffix else source.with_name("fifo")
    os.mkfifo(f"{path}{suffix}")
    assert f"{path.name}{suffix}' is not a regular file" in get_import_error(path)


def test_other_paths_that_are_not_files(source: Path) -> None:
    link = source.with_name("link")
    link.symlink_to("/dev/zero")
    for path in ("/dev/zero", link):
        assert "is not a regular file" in get_import_error(path)
    loop = source.with_name("loop")
    loop.symlink_to(loop)
    for path in (loop, "x" * 300, "null\0byte"):
        assert "cannot be opened: " in get_import_error(path)
    dangling = source.with_name("dangling")
    dangling.symlink_to("none")
    assert "there is no file" in get_import_error(dangling)


def test_a_link_to_a_file_is_read(source: Path) -> None:
    link = source.with_name("link")
    link.symlink_to(source)
    run("import_weavegraph", str(link))
    assert_stored(group_by_session(build_two_sessions()))


# Credentials


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:se/cret@127.0.0.1:1/x",
        "postgresql://u:se?cret@127.0.0.1:1/x",
        "postgresql://u:se#cret@127.0.0.1:1/x",
        "postgresql://u:se@cret@127.0.0.1:1/x",
        "postgresql://u:cret/x",
        "postgresql://u:cret@[::1",
        "postgresql://[::1",
        "postgresql://u:%zzcret@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?password=cret",
        "postgresql://127.0.0.1:1/x?password=a@cret",
        "postgresql://127.0.0.1:1/x?passwd=cret",
        "postgres://u:cret@127.0.0.1:1/x?sslmode=disable",
        "POSTGRESQL://u:cret@127.0.0.1:1/x",
        " postgresql://u:cret@127.0.0.1:1/x",
        "postgresql+psycopg://u:cret@127.0.0.1:1/x",
        "mysql://u:cret@127.0.0.1:1/x",
        "postgresql:/u:cret@127.0.0.1:1/x",
        "u:cret@127.0.0.1/x",
        "host=127.0.0.1 port=1 user=u password=cret dbname=x",
        "host=127.0.0.1 user=u password = 'se cret'",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    if "://" in url and "postgres" in url.lower() and "+" not in url:
        pytest.importorskip("psycopg")
    with pytest.raises(CommandError) as raised:
        run("import_weavegraph", url)
    error: BaseException | None = raised.value
    while error is not None:
        assert "cret" not in str(error)
        error = error.__cause__


def test_a_url_of_another_database_is_named() -> None:
    error = "a URL mysql:// is not supported: give the path of a SQLite file, or a URL postgresql"
    assert error in get_import_error("mysql://host/name")


def test_a_file_whose_name_looks_like_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sqlite:").mkdir()
    create_crate_file(Path("sqlite:") / "a@b", build_two_sessions())
    run("import_weavegraph", "sqlite://a@b")
    assert_stored(group_by_session(build_two_sessions()))
