from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError
from django.db import OperationalError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.builders import save_history
from tests.commands.runner import Terminal, run
from tests.health.damage import set_session, set_step, without_triggers
from weavegraph_checkpoints import health
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.health import Finding, RowCount

CHECK = "check_checkpoints"

FINDINGS = [
    Finding(problem="trigger-missing", detail="the_trigger", repaired=True),
    Finding(session_id='a"\n\u202eä', step=2, problem="status", detail="empty, not\nfinished"),
    Finding(session_id="b", problem="snapshot", detail="last_step", repaired=True),
]


@pytest.fixture
def three_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the check find three problems of different kinds."""

    def verify(*, on_progress: Any, **options: Any) -> Iterator[Finding]:
        assert options == {"using": "default", "deep": False, "repair": False}
        yield from FINDINGS
        on_progress(RowCount(sessions=1, steps=0))
        on_progress(RowCount(sessions=1, steps=2))

    monkeypatch.setattr(health, "verify", verify)


@pytest.mark.django_db
def test_nothing_to_report() -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    ran = run(CHECK)
    assert (ran.status, ran.out, ran.err) == (
        0,
        "checked 1 session and 2 steps: no problems\n",
        "",
    )
    assert run(CHECK, "--deep", verbosity=0).out == ""


@pytest.mark.django_db
@pytest.mark.usefixtures("three_findings")
def test_a_line_for_each_problem() -> None:
    lines = [
        "trigger-missing: the_trigger (repaired)",
        '"a\\"\\n\\u202eä" 2 status: empty, not\\nfinished',
        '"b" - snapshot: last_step (repaired)',
    ]
    ran = run(CHECK)
    assert ran.lines == [*lines, "checked 1 session and 2 steps: 3 problems, 2 repaired"]
    assert ran.status == 1
    quiet = run(CHECK, verbosity=0)
    assert (quiet.status, quiet.lines, quiet.err) == (1, lines, "")


@pytest.mark.django_db
@pytest.mark.usefixtures("three_findings")
@pytest.mark.parametrize("verbosity", [0, 1])
def test_json(verbosity: int) -> None:
    ran = run(CHECK, "--format", "json", verbosity=verbosity)
    assert ran.status == 1
    assert json.loads(ran.out) == {
        "database": "default",
        "problems": [
            {
                "problem": finding.problem,
                "detail": finding.detail,
                "session_id": finding.session_id,
                "step": finding.step,
                "repaired": finding.repaired,
            }
            for finding in FINDINGS
        ],
        "found": 3,
        "unrepaired": 1,
        "sessions": 1,
        "steps": 2,
        "finished": True,
        "notes": [],
    }


@pytest.mark.django_db
def test_json_of_a_healthy_database() -> None:
    ran = run(CHECK, "--format", "json")
    assert ran.status == 0
    document = json.loads(ran.out)
    assert (document["problems"], document["found"], document["unrepaired"]) == ([], 0, 0)


@pytest.mark.django_db
def test_the_status_tells_whether_all_is_repaired() -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_session("a", status="finished")
    set_step("a", 1, frontier='{"a": 1}')
    assert run(CHECK).status == 1
    repaired = run(CHECK, "--repair")
    assert repaired.status == 0
    assert repaired.lines[0] == '"a" 2 status: finished, not resumable (repaired)'
    deep = run(CHECK, "--deep", "--repair")
    assert deep.status == 1
    assert deep.lines[0].startswith('"a" 1 undecodable: ')
    assert deep.lines[1] == "checked 1 session and 2 steps: 1 problem, 0 repaired"


@pytest.mark.usefixtures("committed")
def test_a_trigger_has_a_line_of_its_own() -> None:
    with without_triggers():
        ran = run(CHECK)
        assert ran.status == 1
        assert ran.lines[0].startswith("trigger-missing: weavegraph_checkpoints_step_snapshot")
        assert run(CHECK, "--repair").status == 0
        assert run(CHECK).status == 0


@pytest.mark.django_db
@pytest.mark.parametrize("format", ["text", "json"])
def test_an_interruption_ends_with_a_summary(monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    def verify(*, on_progress: Any, **options: Any) -> Iterator[Finding]:
        on_progress(RowCount(sessions=5, steps=0))
        yield FINDINGS[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(health, "verify", verify)
    ran = run(CHECK, "--format", format)
    assert ran.status == 130
    if format == "text":
        assert ran.lines[1] == "interrupted after 5 sessions and 0 steps: 1 problem, 1 repaired"
    else:
        document = json.loads(ran.out)
        assert (document["finished"], document["sessions"]) == (False, 5)


@pytest.mark.django_db
def test_sigint_is_heard_between_two_pages() -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    heard: list[str] = []

    def signalling(execute: Any, sql: str, *args: Any) -> Any:
        found = execute(sql, *args)
        if not heard and "weavegraph_checkpoints_step" in sql:
            heard.append(sql)
            signal.raise_signal(signal.SIGINT)
        return found

    with connection.execute_wrapper(signalling):
        ran = run(CHECK)
    assert heard
    assert (ran.status, ran.err) == (130, "")
    assert ran.lines[-1].startswith("interrupted after 1 session and ")


@pytest.mark.django_db
def test_a_bar_run_on_terminal() -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_session("a", status="finished")
    ran = run(CHECK, stderr=Terminal())
    assert "/3" in ran.err
    assert ran.lines[0] == '"a" 2 status: finished, not resumable'
    assert run(CHECK, stderr=Terminal(), verbosity=0).err == ""


COMMANDS = [[CHECK], ["checkpoint_stats"], ["prune_checkpoints", "--keep-last=1"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_alias(command: list[str]) -> None:
    with pytest.raises(CommandError, match="argument --database: invalid choice: 'nowhere'"):
        run(*command, "--database", "nowhere")


@pytest.mark.django_db
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_cannot_be_opened(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("unable to open\u202e\n")

    monkeypatch.setattr(connection.introspection, "table_names", fail)
    message = r"The database 'default' cannot be used: unable to open\\u202e$"
    with pytest.raises(CommandError, match=message):
        run(*command)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_without_the_tables(
    command: list[str], empty_scratch: BaseDatabaseWrapper
) -> None:
    with pytest.raises(CommandError, match=r"manage\.py migrate .* --database scratch"):
        run(*command, "--database", empty_scratch.alias)


def test_another_database(scratch: BaseDatabaseWrapper) -> None:
    save_history(DjangoCheckpointer(scratch.alias), "a", [1, 2, 3])
    ran = run(CHECK, "--deep", "--database", scratch.alias)
    assert ran.out == "checked 1 session and 3 steps: no problems\n"
    assert (
        json.loads(run("checkpoint_stats", "--format=json", database="scratch").out)["steps"] == 3
    )


@pytest.mark.usefixtures("committed")
def test_the_exit_status_of_the_process() -> None:
    save_history(DjangoCheckpointer(), "a", [1, 2])
    set_session("a", last_state=None)

    def process(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", CHECK, "--skip-checks", *args],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE},
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )

    broken = process()
    assert broken.returncode == 1, broken.stderr
    assert broken.stdout.startswith('"a" 2 snapshot: last_state not as in the newest step\n')
    mended = process("--repair", "--format=json")
    assert mended.returncode == 0, mended.stderr
    assert json.loads(mended.stdout)["problems"][0]["repaired"] is True
    assert process("--deep").returncode == 0
