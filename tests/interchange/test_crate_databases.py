"""Databases that the crate itself wrote are imported, and read as the crate reads them."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from django.core.management import CommandError

from tests.builders import everything_stored, wrong_snapshots
from tests.commands.runner import run
from tests.databases import get_server_url
from tests.interchange.crate_databases import (
    REAL_DUMP,
    REAL_FILE,
    get_file_timestamps,
    get_rows,
    load_crate_results,
)
from tests.interchange.stored_histories import assert_stored_as_crate_reads, get_timestamps
from weavegraph_checkpoints.interchange import open_source
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.usefixtures("tables")

SERVER = get_server_url("postgresql")

if find_spec("psycopg"):
    import psycopg


@pytest.fixture
def real_url() -> Iterator[str]:
    """The URL of a PostgreSQL database with the dump of the crate; dropped at the end."""
    if not SERVER:
        pytest.skip("needs a PostgreSQL server: set TEST_POSTGRES_URL")
    name = f"test_weavegraph_crate_{uuid4().hex}"
    url = urlunsplit(urlsplit(SERVER)._replace(path=f"/{name}"))
    with psycopg.connect(SERVER, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        try:
            subprocess.run(
                ["psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", str(REAL_DUMP)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            yield url
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_sqlite_file_is_read_as_the_crate_read_it() -> None:
    before = REAL_FILE.read_bytes()
    ran = run("import_weavegraph", str(REAL_FILE))
    assert ran.status == 0
    assert ran.out == (
        "imported 39 steps into 22 sessions (22 new): 0 replaced, 0 kept, 0 unchanged; "
        "0 sessions left out\n"
    )
    assert_stored_as_crate_reads(load_crate_results("sqlite"))
    assert wrong_snapshots() == []
    assert get_timestamps() == get_file_timestamps(REAL_FILE)
    assert REAL_FILE.read_bytes() == before
    assert_no_problems()


def test_a_second_run_changes_nothing() -> None:
    run("import_weavegraph", str(REAL_FILE))
    before = everything_stored()
    ran = run("import_weavegraph", str(REAL_FILE))
    assert ran.out == (
        "imported 0 steps into 22 sessions (0 new): 0 replaced, 0 kept, 39 unchanged; "
        "0 sessions left out\n"
    )
    assert everything_stored() == before


def test_the_text_of_the_states_is_taken_over() -> None:
    run("import_weavegraph", str(REAL_FILE))
    texts = {(row[0], row[1]): row[3] for row in get_rows(REAL_FILE, "steps")}
    sizes = {
        (s, n): size for s, n, size in Step.objects.values_list("session", "step", "state_bytes")
    }
    assert sizes == {key: len(text.encode()) for key, text in texts.items()}


def assert_no_problems() -> None:
    assert run("check_checkpoints", "--deep").out == (
        "checked 22 sessions and 39 steps: no problems\n"
    )


def test_the_postgresql_database_is_read_as_the_crate_read_it(real_url: str) -> None:
    run("import_weavegraph", real_url)
    assert_stored_as_crate_reads(load_crate_results("postgres"))
    assert wrong_snapshots() == []
    assert_no_problems()
    before = everything_stored()
    ran = run("import_weavegraph", real_url)
    assert "imported 0 steps into 22 sessions (0 new)" in ran.out
    assert everything_stored() == before


def test_the_times_of_postgresql_come_in_to_the_microsecond(real_url: str) -> None:
    run("import_weavegraph", real_url)
    with psycopg.connect(real_url) as connection:
        rows = connection.execute("SELECT id, created_at, updated_at FROM sessions").fetchall()
    assert get_timestamps() == {key: (created, updated) for key, created, updated in rows}
    assert any(updated.microsecond % 1000 for _, _, updated in rows)


def test_large_floats_that_jsonb_wrote_as_integers_come_back(real_url: str) -> None:
    values = '{"a": 1e23, "b": -1.7976931348623157e308, "c": 18446744073709551615, "d": 1e15}'
    with psycopg.connect(real_url) as connection:
        connection.execute(
            "UPDATE steps SET state_json = jsonb_set(state_json, '{extra,map}', %s)"
            " WHERE session_id = 'zero'",
            [values],
        )
    run("import_weavegraph", real_url, "--session", "zero")
    state = Step.objects.get(session_id="zero").state
    # What is within 64 bits may have been an integer, and stays one.
    assert repr(state["extra"]["map"]) == repr(
        {"a": 1e23, "b": -1.7976931348623157e308, "c": 2**64 - 1, "d": 10**15}
    )


def test_a_long_session_of_postgresql(real_url: str) -> None:
    with psycopg.connect(real_url) as connection:
        connection.execute(
            "INSERT INTO steps SELECT session_id, n, created_at, state_json, frontier_json,"
            " versions_seen_json, ran_nodes_json, skipped_nodes_json, updated_channels_json"
            " FROM steps, generate_series(1, 2500) AS n WHERE session_id = 'zero'"
        )
    ran = run("import_weavegraph", real_url, "--session", "zero")
    assert "imported 2501 steps into 1 session (1 new)" in ran.out
    assert Session.objects.get().last_step == 2500


@pytest.mark.parametrize("time", ["infinity", "10000-01-01 00:00:00+00", "0044-03-15 BC"])
def test_a_time_that_has_no_year_here_is_refused(real_url: str, time: str) -> None:
    with psycopg.connect(real_url) as connection:
        connection.execute(
            "UPDATE steps SET created_at = %s WHERE session_id = 'late' AND step = 3", [time]
        )
    with pytest.raises(CommandError, match=r"session 'late', step 3: .*\(at \$\.created_at\)"):
        run("import_weavegraph", real_url)
    assert not Session.objects.filter(id="late").exists()
    ran = run("import_weavegraph", real_url, "--skip-invalid")
    assert "left out: session 'late', step 3" in ran.err
    assert Session.objects.count() == 21


def test_the_source_is_only_read(real_url: str) -> None:
    with (
        open_source(real_url) as source,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        source.connection.execute("DELETE FROM steps")  # type: ignore[attr-defined]


def test_another_schema_of_postgresql_is_refused(real_url: str) -> None:
    with psycopg.connect(real_url) as connection:
        connection.execute("ALTER TABLE steps DROP COLUMN ran_nodes_json")
    with pytest.raises(CommandError, match="'steps' has no column 'ran_nodes_json'"):
        run("import_weavegraph", real_url)
    with psycopg.connect(real_url) as connection:
        connection.execute("DROP TABLE steps")
    with pytest.raises(CommandError, match="no table 'steps'"):
        run("import_weavegraph", real_url)


@pytest.mark.parametrize("table", ["sessions", "steps"])
@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_in_the_place_of_a_table_is_refused(real_url: str, table: str, kind: str) -> None:
    with psycopg.connect(real_url) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO others")
        connection.execute(f"CREATE {kind} {table} AS SELECT * FROM others")
    with pytest.raises(CommandError, match=f"'{table}' is not a table"):
        run("import_weavegraph", real_url)


def test_a_policy_that_hides_rows_is_an_error(real_url: str) -> None:
    role = f"test_weavegraph_{uuid4().hex}"
    with psycopg.connect(real_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE sessions ENABLE ROW LEVEL SECURITY")
        connection.execute(f"CREATE ROLE {role}")
        try:
            connection.execute(f"GRANT SELECT ON sessions, steps TO {role}")
            with pytest.raises(CommandError, match="row-level security"):
                run("import_weavegraph", f"{real_url}?options=-c%20role%3D{role}")
        finally:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


@pytest.mark.skipif(
    find_spec("psycopg") is None, reason="needs psycopg, which the tests on PostgreSQL install"
)
def test_a_server_that_does_not_listen_is_named_without_its_password() -> None:
    with socket.socket() as bound, pytest.raises(CommandError) as raised:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        run("import_weavegraph", f"postgresql://reader:secret@127.0.0.1:{port}/crate")
    message = str(raised.value)
    assert message.startswith(f"'postgresql://127.0.0.1:{port}/crate' cannot be opened: ")
    assert "secret" not in message


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(CommandError, match=r"install 'weavegraph-checkpoints\[postgres\]'"):
        run("import_weavegraph", "postgres://127.0.0.1/crate")


def test_the_files_are_where_the_tests_expect_them() -> None:
    assert Path(REAL_FILE).exists()
    assert Path(REAL_DUMP).exists()
