"""Files that an export creates: their content, what is rejected, and adding to them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection

from tests.builders import a_history, everything_stored, save_history
from tests.commands.runner import Terminal, run
from tests.interchange.crate_databases import (
    REAL_FILE,
    create_crate_file,
    get_rows,
    open_file,
    save_as_crate,
)
from tests.interchange.stored_histories import assert_stored, group_by_session, load_history
from tests.strategies import an_error_event
from weavegraph_checkpoints import (
    Checkpoint,
    ErrorsChannel,
    ExtrasChannel,
    MessagesChannel,
    SchedulerScope,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange import export_history, transfer
from weavegraph_checkpoints.interchange import target as target_module
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.usefixtures("tables")

SCHEMA = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master"
    " WHERE tbl_name <> '_sqlx_migrations' ORDER BY name"
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "export.sqlite3"


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_file(path) as crate:
        return crate.execute(sql).fetchall()


def test_a_file_is_what_the_crate_wrote(target: Path) -> None:
    run("import_weavegraph", str(REAL_FILE))
    ran = run("export_weavegraph", str(target))
    assert ran.out == "exported 39 steps of 22 sessions: 0 unchanged; 0 sessions left out\n"
    assert query(target, SCHEMA) == query(REAL_FILE, SCHEMA)
    assert query(target, "PRAGMA integrity_check") == [("ok",)]
    assert query(target, "PRAGMA foreign_key_check") == []
    assert [each.name for each in target.parent.iterdir()] == ["export.sqlite3"]
    for table, keys in (("steps", 2), ("sessions", 1)):
        ours = {row[:keys]: row[keys:] for row in get_rows(target, table)}
        theirs = {row[:keys]: row[keys:] for row in get_rows(REAL_FILE, table)}
        # The crate's snapshot of this session had moved back.
        ours.pop(("late",), None), theirs.pop(("late",), None)
        if connection.vendor == "postgresql":
            # Its jsonb orders the keys of versions_seen.
            ours, theirs = (map_json(rows) for rows in (ours, theirs))
        assert ours == theirs
    late = query(target, "SELECT last_step, last_state_json FROM sessions WHERE id = 'late'")
    assert late == query(
        REAL_FILE, "SELECT step, state_json FROM steps WHERE session_id = 'late' AND step = 9"
    )


def map_json(rows: dict[Any, tuple[Any, ...]]) -> dict[Any, list[Any]]:
    def sorted_text(value: Any) -> Any:
        return sorted(value) if isinstance(value, str) else value

    return {key: [sorted_text(value) for value in row] for key, row in rows.items()}


def test_the_crate_resumes_and_goes_on_saving(target: Path) -> None:
    save_history(DjangoCheckpointer(), "s", [2, 5, 3])
    run("export_weavegraph", str(target))
    ((last_step, state),) = query(target, "SELECT last_step, last_state_json FROM sessions")
    assert (last_step, state) == (
        5,
        query(target, "SELECT state_json FROM steps WHERE step = 5")[0][0],
    )
    with open_file(target) as crate:
        crate.execute("PRAGMA foreign_keys = on")
        save_as_crate(crate, a_history("s", [6])[0])
    assert query(target, "SELECT last_step FROM sessions") == [(6,)]
    assert "imported 1 step" in run("import_weavegraph", str(target)).out
    assert [each.step for each in load_history("s")] == [2, 3, 5, 6]


def test_microseconds_are_kept(target: Path) -> None:
    (checkpoint,) = save_history(DjangoCheckpointer(), "s", [1])
    assert checkpoint.created_at.microsecond == 678901
    run("export_weavegraph", str(target))
    ((created_at,),) = query(target, "SELECT created_at FROM steps")
    assert created_at == "2026-01-02T03:04:05.678901Z"
    session = Session.objects.get()
    ((made, updated),) = query(target, "SELECT created_at, updated_at FROM sessions")
    assert made == f"{session.created_at.replace(tzinfo=None).isoformat(timespec=precision(made))}Z"
    assert (
        updated
        == f"{session.updated_at.replace(tzinfo=None).isoformat(timespec=precision(updated))}Z"
    )


def precision(text: str) -> str:
    return "microseconds" if len(text) == 27 else "milliseconds"


def test_sessions_are_chosen(target: Path) -> None:
    checkpointer = DjangoCheckpointer()
    save_history(checkpointer, "a", [1])
    save_history(checkpointer, "b", [1], frontier=["End"])
    save_history(checkpointer, "c", [1], frontier=["End"])
    Session.objects.create(id="d", concurrency_limit=3)
    run("export_weavegraph", str(target), "--session", "b", "--session", "a")
    assert [row[0] for row in get_rows(target, "sessions")] == ["a", "b"]
    run("export_weavegraph", str(target), "--status", "finished")
    assert [row[0] for row in get_rows(target, "sessions")] == ["a", "b", "c"]
    ran = run("export_weavegraph", str(target), "--status", "empty", "--session", "d")
    assert "exported 0 steps of 1 session" in ran.out
    assert get_rows(target, "sessions")[3][3:] == (3, 0, None, None, None)
    assert get_rows(target, "steps") == [row for row in get_rows(target, "steps") if row[0] != "d"]
    before = target.read_bytes()
    run("export_weavegraph", str(target))
    assert target.read_bytes() == before


def test_a_row_beyond_the_limits_is_exported(target: Path) -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    nodes = [f"Custom:n{number}" for number in range(300)]
    Step.objects.update(frontier=nodes)
    run("export_weavegraph", str(target))
    with open_file(target) as connection:
        (row,) = connection.execute("SELECT frontier_json FROM steps").fetchall()
    assert json.loads(row[0]) == nodes


def test_a_session_named_that_is_not_there(target: Path) -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    for named in ("b", "A", "x" * 300, "\0"):
        with pytest.raises(CommandError, match="does not exist"):
            run("export_weavegraph", str(target), "--session", "a", "--session", named)
    assert not target.exists()
    with pytest.raises(InterchangeError, match="status must be one of"):
        export_history(str(target), status="done")


@pytest.mark.parametrize("content", [b"", b"text", b"SQLite format 3\0", None])
def test_no_other_file_is_touched(target: Path, content: bytes | None) -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    if content is None:
        create_crate_file(target, a_history("a", [1]))
        content = target.read_bytes()
    target.write_bytes(content)
    with pytest.raises(CommandError, match="already exists and was not created by an export"):
        run("export_weavegraph", str(target))
    assert target.read_bytes() == content


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is not a regular file"):
        run("export_weavegraph", str(tmp_path))
    with pytest.raises(CommandError, match="cannot be created: "):
        run("export_weavegraph", str(tmp_path / "none" / "export.sqlite3"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["", "-journal", "-wal"])
def test_a_fifo_is_refused_at_once(target: Path, suffix: str) -> None:
    if suffix:
        run("export_weavegraph", str(target))
    os.mkfifo(f"{target}{suffix}")
    with pytest.raises(CommandError, match=f"{suffix}' is not a regular file"):
        run("export_weavegraph", str(target))


def test_devices_and_impossible_paths(target: Path) -> None:
    target.symlink_to("/dev/null")
    for path in ("/dev/null", str(target)):
        with pytest.raises(CommandError, match="is not a regular file"):
            run("export_weavegraph", path)
    for path in ("x" * 300, "null\0byte"):
        with pytest.raises(CommandError, match="cannot be opened: "):
            run("export_weavegraph", path)


@pytest.mark.parametrize("table", ["sessions", "steps"])
def test_a_view_in_the_file_is_refused(target: Path, table: str) -> None:
    run("export_weavegraph", str(target))
    with open_file(target) as crate:
        crate.execute(f"ALTER TABLE {table} RENAME TO others")
        crate.execute(f"CREATE VIEW {table} AS SELECT * FROM others")
    with pytest.raises(CommandError, match=f"'{table}' is not a table"):
        run("export_weavegraph", str(target))


def test_a_trigger_that_may_alter_steps_is_refused(target: Path) -> None:
    run("export_weavegraph", str(target))
    with open_file(target) as crate:
        crate.execute("CREATE TRIGGER evil AFTER INSERT ON steps BEGIN DELETE FROM steps; END")
    with pytest.raises(CommandError, match="has a trigger that is not the crate's: 'evil'"):
        run("export_weavegraph", str(target))


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = target_module.os.link

    def late(*args: Any) -> None:
        target.write_text("mine")
        link(*args)

    monkeypatch.setattr(target_module.os, "link", late)
    with pytest.raises(CommandError, match="was not created by an export"):
        run("export_weavegraph", str(target))
    assert target.read_text() == "mine"


@pytest.mark.parametrize("taken", [False, True])
def test_a_file_system_without_second_names(
    target: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    def link(*args: Any) -> None:
        if taken:
            target.write_text("mine")
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(target_module.os, "link", link)
    if taken:
        with pytest.raises(CommandError, match="was not created by an export"):
            run("export_weavegraph", str(target))
        assert target.read_text() == "mine"
    else:
        run("export_weavegraph", str(target))
        assert get_rows(target, "sessions") == []


def test_a_damaged_file_of_an_export_is_an_error(target: Path) -> None:
    run("export_weavegraph", str(target))
    content = bytearray(target.read_bytes())
    content[100:4096] = b"\xff" * 3996
    target.write_bytes(content)
    with pytest.raises(CommandError, match="cannot be read"):
        run("export_weavegraph", str(target))
    with open_file(target.with_name("other")) as other:
        other.execute(f"PRAGMA application_id = {target_module.APPLICATION_ID}")
        other.execute("CREATE TABLE sessions (id)")
    with pytest.raises(CommandError, match="has no column 'created_at'"):
        run("export_weavegraph", str(target.with_name("other")))


def test_a_file_that_another_has_locked(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    run("export_weavegraph", str(target), "--status", "empty")
    monkeypatch.setattr(target_module, "TIMEOUT_SECONDS", 0.1)
    with open_file(target) as crate:
        crate.execute("BEGIN IMMEDIATE")
        with pytest.raises(CommandError, match="cannot be written: database is locked"):
            run("export_weavegraph", str(target))


# What the crate does not support


def nest(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def build_error_chain(times: int) -> WeaveError:
    error = WeaveError(message="root")
    for _ in range(times):
        error = WeaveError(message="", cause=error)
    return error


def build_state_with_error(**fields: Any) -> VersionedState:
    return VersionedState(
        messages=MessagesChannel(),
        extra=ExtrasChannel(),
        errors=ErrorsChannel(items=[an_error_event(**fields)]),
    )


SUPPORTED = {
    "integers of 64 bits": VersionedState.new(extra={"a": 2**64 - 1, "b": -(2**63)}),
    "127 levels": VersionedState.new(extra={"a": nest(124)}),
    "floats": VersionedState.new(extra={"a": [1e23, -0.0, 5e-324, 1.7976931348623157e308]}),
    "a step of a scope": build_state_with_error(scope=SchedulerScope(step=2**64 - 1)),
    "nanoseconds": build_state_with_error(when="2026-01-02T03:04:60.123456789Z"),
    "122 causes": build_state_with_error(error=build_error_chain(122), context=None),
    "U+0000": VersionedState.new(extra={"\0": "\0"}),
}
UNSUPPORTED = {
    "2^64": (VersionedState.new(extra={"a": [2**64]}), r"\$\.state\.extra\.map\.a\[0\]"),
    "-2^63-1": (VersionedState.new(extra={"a": -(2**63) - 1}), r"\$\.state\.extra\.map\.a\)"),
    "10^300": (
        build_state_with_error(context={"a": 10**300}),
        r"\$\.state\.errors\.items\[0\]\.context\.a",
    ),
    "128 levels": (VersionedState.new(extra={"a": nest(125)}), "up to 127 levels"),
    "123 causes": (
        build_state_with_error(error=build_error_chain(123), context=None),
        "up to 127 levels",
    ),
    "picoseconds": (
        build_state_with_error(when="2026-01-02T03:04:05.1234567891Z"),
        r"items\[0\]\.when",
    ),
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_what_the_crate_can_hold(target: Path, name: str) -> None:
    expected = save_history(DjangoCheckpointer(), "s", [1], state=SUPPORTED[name])
    run("export_weavegraph", str(target))
    Session.objects.all().delete()
    run("import_weavegraph", str(target))
    assert_stored(group_by_session(expected))


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_the_crate_cannot_hold_is_named_and_left_out(target: Path, name: str) -> None:
    state, message = UNSUPPORTED[name]
    checkpointer = DjangoCheckpointer()
    save_history(checkpointer, "before", [1])
    save_history(checkpointer, "less", [1, 3])
    save_history(checkpointer, "less", [2], state=state)
    save_history(checkpointer, "more", [1])
    with pytest.raises(CommandError, match=rf"session 'less', step 2: the crate .*{message}"):
        run("export_weavegraph", str(target))
    assert [row[0] for row in get_rows(target, "steps")] == ["before"]
    ran = run("export_weavegraph", str(target), "--skip-invalid")
    assert ran.status == 0
    assert ran.err.startswith("left out: session 'less', step 2: the crate ")
    assert ran.out.endswith("1 unchanged; 1 session left out\n")
    assert [row[0] for row in get_rows(target, "steps")] == ["before", "more"]


def test_a_step_that_cannot_be_decoded_is_left_out(target: Path) -> None:
    save_history(DjangoCheckpointer(), "s", [1])
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {Step._meta.db_table} SET state = '[]'")
    with pytest.raises(CommandError, match="session 's', step 1: "):
        run("export_weavegraph", str(target))


# Adding to a file


def test_a_file_grows_with_the_history(target: Path) -> None:
    checkpointer = DjangoCheckpointer()
    save_history(checkpointer, "s", [1, 3])
    run("export_weavegraph", str(target))
    save_history(checkpointer, "s", [2, 4])
    ran = run("export_weavegraph", str(target))
    assert ran.out.startswith("exported 2 steps of 1 session: 2 unchanged")
    assert [row[1] for row in get_rows(target, "steps")] == [1, 2, 3, 4]
    ((last_step,),) = query(target, "SELECT last_step FROM sessions")
    assert last_step == 4
    fresh = target.with_name("fresh")
    run("export_weavegraph", str(fresh))
    for table in ("steps", "sessions"):
        assert get_rows(target, table) == get_rows(fresh, table)


def test_a_session_that_the_crate_has_gone_on_with_is_not_turned_back(target: Path) -> None:
    checkpointer = DjangoCheckpointer()
    save_history(checkpointer, "s", [1, 3])
    run("export_weavegraph", str(target))
    with open_file(target) as crate:
        save_as_crate(crate, a_history("s", [9])[0])
    session = get_rows(target, "sessions")
    save_history(checkpointer, "s", [2])
    run("export_weavegraph", str(target))
    assert [row[1] for row in get_rows(target, "steps")] == [1, 2, 3, 9]
    assert get_rows(target, "sessions") == session


def test_a_step_that_differs_is_refused(target: Path) -> None:
    checkpointer = DjangoCheckpointer()
    save_history(checkpointer, "s", [1, 3])
    run("export_weavegraph", str(target))
    with open_file(target) as crate:
        save_as_crate(crate, dataclasses.replace(a_history("s", [3])[0], ran_nodes=["other"]))
    before = get_rows(target, "steps"), get_rows(target, "sessions")
    save_history(checkpointer, "s", [2])
    with pytest.raises(CommandError, match=r"session 's', step 3: .* has a different step"):
        run("export_weavegraph", str(target))
    assert (
        "left out: session 's', step 3"
        in run("export_weavegraph", str(target), "--skip-invalid").err
    )
    assert (get_rows(target, "steps"), get_rows(target, "sessions")) == before


def test_steps_of_unknown_size_are_exported(target: Path) -> None:
    save_history(DjangoCheckpointer(), "s", [1, 2, 3])
    Step.objects.filter(step__gt=1).update(state_bytes=None)
    run("export_weavegraph", str(target))
    assert [row[1] for row in get_rows(target, "steps")] == [1, 2, 3]


def test_the_database_is_only_read(target: Path) -> None:
    save_history(DjangoCheckpointer(), "s", [1, 2])
    before = everything_stored()
    run("export_weavegraph", str(target))
    assert everything_stored() == before


def build_long_history() -> list[Checkpoint]:
    return a_history("long", range(60))


def test_a_long_session_goes_out_in_parts(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "STEPS_BATCH_SIZE", 10)
    for checkpoint in build_long_history():
        DjangoCheckpointer().save(checkpoint)
    run("export_weavegraph", str(target))
    assert len(get_rows(target, "steps")) == 60
    DjangoCheckpointer().save(a_history("long", [60])[0])
    run("export_weavegraph", str(target))
    assert query(target, "SELECT last_step FROM sessions") == [(60,)]
    huge = VersionedState.new(extra={"n": 2**70})
    save_history(DjangoCheckpointer(), "long", [55], state=huge)
    before = get_rows(target, "steps")
    assert "step 55" in run("export_weavegraph", str(target), "--skip-invalid").err
    assert get_rows(target, "steps") == before


def test_a_bar_on_a_terminal(target: Path) -> None:
    save_history(DjangoCheckpointer(), "s", [1, 2])
    save_history(DjangoCheckpointer(), "t", [1], frontier=["End"])
    for args, total in (([], 3), (["--session", "s"], 2), (["--status", "finished"], 1)):
        terminal = Terminal()
        run("export_weavegraph", str(target), *args, stderr=terminal)
        assert f"/{total} [" in terminal.getvalue()
    assert run("export_weavegraph", str(target), verbosity=0).out == ""
