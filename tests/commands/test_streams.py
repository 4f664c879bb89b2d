"""What a stream cannot encode or take never ends the work of a command."""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.builders import a_history, save_history, wrong_snapshots
from tests.commands.processes import STUCK_AFTER_SECONDS, run_on_terminal, start
from tests.commands.runner import run
from tests.health.damage import set_session
from tests.interchange.crate_databases import create_crate_file, open_file
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.management.base import CheckpointCommand
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db(transaction=True)

SESSION_ID = "a😀é\x9b\x9d\x7f\u202e"
IDS = [f"{SESSION_ID}{number}" for number in range(3)]
RAW_CHARS = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def histories() -> None:
    """Three sessions of two steps, with stale snapshots."""
    for session_id in IDS:
        save_history(DjangoCheckpointer(), session_id, [1, 2])
        set_session(session_id, status="finished")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A database of the crate: one session with an invalid row, and one without."""
    path = create_crate_file(
        tmp_path / "crate.sqlite3", [*a_history("bad😀", [1]), *a_history("good😀", [1])]
    )
    with open_file(path) as crate:
        crate.execute("UPDATE steps SET state_json = '{' WHERE session_id LIKE 'bad%'")
    return path


def finish(command: str, *args: str, **options: Any) -> tuple[int, str, str]:
    """Run a command in another process; return its exit status and both outputs."""
    process = start(command, *args, **options)
    stdout, stderr = process.communicate(timeout=STUCK_AFTER_SECONDS)
    return process.returncode, stdout or "", stderr or ""


@pytest.mark.usefixtures("histories")
def test_characters_that_cp1252_lacks_are_escaped(tmp_path: Path, source: Path) -> None:
    escaped = r'"a\U0001f600é'

    status, out, err = finish("check_checkpoints", "--repair", encoding="cp1252")
    assert (status, err) == (0, "")
    assert out.count(f"{escaped}\\u009b\\u009d\\u007f\\u202e") == 3
    assert out.splitlines()[-1] == "checked 3 sessions and 6 steps: 3 problems, 3 repaired"
    assert wrong_snapshots() == []

    status, out, err = finish("checkpoint_stats", encoding="cp1252")
    assert (status, err) == (0, "")
    assert escaped in out

    status, out, err = finish(
        "export_weavegraph", str(tmp_path / "new"), "--session", "😀", encoding="cp1252"
    )
    assert (status, out) == (1, "")
    assert r"CommandError: session '\U0001f600' does not exist" in err

    status, out, err = finish("import_weavegraph", str(source), "--skip-invalid", encoding="cp1252")
    assert status == 0
    assert r"left out: session 'bad\U0001f600', step 1: " in err
    assert out.startswith("imported 1 step into 1 session (1 new)")

    status, out, err = finish("prune_checkpoints", "--keep-last=1", encoding="cp1252")
    assert (status, err) == (0, "")
    assert out.count(f"  {escaped}") == 3
    assert out.splitlines()[-1] == "pruned 3 steps and 0 sessions"


def finish_without_reader(command: str, *args: str) -> int:
    """Run a command whose output nobody reads; return its exit status."""
    reader, writer = os.pipe()
    os.close(reader)
    process = start(command, *args, stdout=writer, stderr=writer)
    os.close(writer)
    return process.wait(STUCK_AFTER_SECONDS)


@pytest.mark.usefixtures("histories")
def test_closed_pipes_do_not_change_the_exit_status(tmp_path: Path, source: Path) -> None:
    assert finish_without_reader("check_checkpoints") == 1
    assert finish_without_reader("check_checkpoints", "--repair") == 0
    assert wrong_snapshots() == []
    assert finish_without_reader("checkpoint_stats", "--format=json") == 0
    assert finish_without_reader("export_weavegraph", str(tmp_path / "export.sqlite3")) == 0
    assert finish_without_reader("import_weavegraph", str(source), "--skip-invalid") == 0
    assert Session.objects.filter(id="good😀").exists()
    assert finish_without_reader("prune_checkpoints", "--keep-last=1") == 0
    assert Step.objects.count() == 4
    assert finish_without_reader("prune_checkpoints", "--keep-last=0") == 1


@pytest.mark.usefixtures("histories")
def test_a_closed_standard_output_alone_leaves_nothing_on_standard_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start("prune_checkpoints", "--keep-last=1", stdout=writer)
    os.close(writer)
    _, stderr = process.communicate(timeout=STUCK_AFTER_SECONDS)
    assert (process.returncode, stderr) == (0, "")


@pytest.mark.usefixtures("histories")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_reported_when_the_work_is_finished() -> None:
    with open("/dev/full", "w") as full:
        status, _, err = finish("prune_checkpoints", "--keep-last=1", stdout=full)
        assert Step.objects.count() == 3
        assert status == 1
        assert err == (
            "CommandError: The command has finished, but its output could not be written: "
            "No space left on device\n"
        )


@pytest.mark.usefixtures("histories")
def test_a_process_without_standard_streams() -> None:
    process = start(
        "prune_checkpoints",
        "--keep-last=1",
        stdout=None,
        stderr=None,
        preexec_fn=lambda: os.closerange(0, 3),
    )
    assert process.wait(STUCK_AFTER_SECONDS) == 0
    assert Step.objects.count() == 3


@pytest.mark.usefixtures("histories")
def test_a_bar_on_a_terminal_that_is_not_utf_8() -> None:
    stdout, shown = run_on_terminal("prune_checkpoints", "--keep-last=1", encoding="ascii")
    assert stdout.splitlines()[-1] == "pruned 3 steps and 0 sessions"
    assert "0/3" in shown
    assert shown.isascii()
    assert "\n" not in shown


class BrokenStream(StringIO):
    """A stream that fails with an error at each write."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.broken = error

    def write(self, text: str) -> int:
        raise self.broken


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), ValueError("I/O operation on closed file")]
)
@pytest.mark.usefixtures("histories")
def test_called_with_streams_that_are_closed(error: Exception) -> None:
    call_command(
        "prune_checkpoints", "--keep-last=1", stdout=BrokenStream(error), stderr=BrokenStream(error)
    )
    assert Step.objects.count() == 3


COMMANDS = [
    ["check_checkpoints", "--deep"],
    ["checkpoint_stats"],
    ["prune_checkpoints", "--keep-last=1", f"--session={IDS[0]}", f"--owner={SESSION_ID}"],
    ["prune_checkpoints", "--keep-last=1", "--dry-run"],
    ["prune_checkpoints", f"--older-than={SESSION_ID}"],
    ["export_weavegraph", f"/none/{SESSION_ID}"],
    ["export_weavegraph", "export.sqlite3", f"--session={SESSION_ID}"],
    ["import_weavegraph", f"/none/{SESSION_ID}"],
    ["import_weavegraph", f"postgresql://127.0.0.1:1/{SESSION_ID}"],
    ["import_weavegraph", f"{SESSION_ID}://host"],
]


@pytest.mark.usefixtures("histories")
@pytest.mark.parametrize("command", COMMANDS)
def test_control_characters_are_escaped(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {
        "RETENTION": [{"keep_last": 1, "session_ids": [SESSION_ID], "owner": SESSION_ID}]
    }
    monkeypatch.chdir(tmp_path)
    if command[-1].startswith("postgresql:"):
        pytest.importorskip("psycopg", reason="only the import from PostgreSQL needs the driver")
    try:
        result = run(*command)
        printed = result.out + result.err
    except CommandError as error:
        printed = str(error)
    assert r"\u202e" in printed
    assert RAW_CHARS.findall(printed) == []


def test_the_style_of_a_terminal_is_kept() -> None:
    command = CheckpointCommand(stderr=StringIO(), force_color=True)
    command.stderr._style_func = str.upper
    command.stderr.write("a")
    command.stderr.write_text("b")
    assert command.stderr.getvalue() == "A\nb"
