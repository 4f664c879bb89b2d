"""``manage.py audit`` and ``manage.py demo``."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from example_project.audit import distributions, supervisor
from example_project.audit.graph import expected_last_step
from example_project.audit.management.commands import audit
from example_project.audit.summary import history, is_complete
from example_project.audit.supervisor import AuditFailed, AuditProcess
from tests.example.conftest import install
from weavegraph_checkpoints import Checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

BASE_DIR: Path = django_settings.BASE_DIR


def output_of(command: str, *args: str, **options: Any) -> str:
    """Run a command in this process, and return what it prints."""
    stdout = StringIO()
    call_command(command, *args, stdout=stdout, **options)
    return stdout.getvalue()


@pytest.mark.django_db
class TestAudit:
    def test_it_prints_a_line_for_each_superstep(self, three: Path) -> None:
        lines = output_of("audit", "run").splitlines()
        assert lines[:4] == [
            "Starting run.",
            "step   0  ran –; changed nothing",
            "step   1  ran collect; changed messages, extra",
            "step   2  ran licences, sizes, dependencies; changed messages, extra",
        ]
        assert len(lines) == expected_last_step(3) + 3
        assert any(line.endswith("; skipped report") for line in lines)
        assert lines[-1].startswith("Finished run at step 14. Audit finished: 3 distributions")

    def test_it_resumes_and_says_so(self, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit, "STALL_SECONDS", 0)
        with pytest.raises(
            CommandError, match="This process was not killed within 0 seconds at step 5"
        ):
            output_of("audit", "run", stall_at=5)
        lines = output_of("audit", "run").splitlines()
        assert lines[0] == "Resuming run after step 4."
        assert lines[1].startswith("step   5  ")
        assert output_of("audit", "run") == "run is already finished, at step 14.\n"

    def test_it_forks(self, three: Path) -> None:
        output_of("audit", "run")
        lines = output_of("audit", "fork", fork_from="run", at_step=9).splitlines()
        assert lines[0] == "Forked run at step 9 as fork."
        assert lines[1].startswith("step  10  ")
        assert Session.objects.get(pk="fork").forked_from == "run"

    def test_it_can_be_silent(self, three: Path) -> None:
        assert output_of("audit", "run", verbosity=0) == ""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"at_step": 3}, "--at-step requires --fork-from."),
            ({"fork_from": "unknown"}, "session 'unknown' does not exist"),
            ({"fork_from": "run"}, "session 'run' already exists"),
        ],
    )
    def test_it_explains_what_cannot_be(
        self, three: Path, options: dict[str, Any], message: str
    ) -> None:
        output_of("audit", "run")
        with pytest.raises(CommandError, match=re.escape(message)):
            output_of("audit", "run", **options)

    def test_it_explains_a_conflict(self, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def behind(self: DjangoCheckpointer, session_id: str) -> Checkpoint | None:
            return self.load(session_id, 3)

        output_of("audit", "run")
        monkeypatch.setattr(DjangoCheckpointer, "load_latest", behind)
        with pytest.raises(CommandError, match="Another process is running this session"):
            output_of("audit", "run")

    def test_it_explains_a_database_without_tables(
        self, three: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(self: DjangoCheckpointer, session_id: str) -> Checkpoint | None:
            raise DatabaseError("no such table")

        monkeypatch.setattr(DjangoCheckpointer, "load_latest", fails)
        with pytest.raises(CommandError, match=r"no such table \(Has `manage.py migrate`"):
            output_of("audit", "run")


@pytest.mark.django_db(transaction=True)
class TestProcesses:
    def test_a_kill_loses_nothing(self) -> None:
        checkpointer = DjangoCheckpointer()
        seen: list[int] = []
        with AuditProcess("killed", "--stall-at=8") as process:
            process.kill_after(7, seen.append)
        before = history(checkpointer, "killed")
        assert seen[-1] == 7
        assert [one.step for one in before] == list(range(8))
        with AuditProcess("killed") as process:
            process.wait(seen.append)
        after = history(checkpointer, "killed")
        assert after[:8] == before
        assert is_complete(after)
        assert after[-1].step == seen[-1] == expected_last_step(len(distributions.installed()))

    def test_a_process_that_dies_is_reported_with_its_last_words(self) -> None:
        with (
            AuditProcess("fork", "--fork-from=unknown") as process,
            pytest.raises(AuditFailed, match=r"failed\.\n .*session 'unknown' does not exist"),
        ):
            process.wait(lambda step: None)

    def test_a_process_that_ends_too_early_is_reported(self) -> None:
        with (
            AuditProcess("run") as process,
            pytest.raises(AuditFailed, match="exited before it could be killed"),
        ):
            process.kill_after(10_000, lambda step: None)

    def test_a_process_that_makes_no_step_is_reported_and_ended(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(supervisor, "STUCK_AFTER_SECONDS", 0.0)
        with (
            AuditProcess("stuck", "--stall-at=0") as process,
            pytest.raises(AuditFailed, match="has saved no step for 0 seconds"),
        ):
            process.wait(lambda step: None)
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


class TestDemo:
    @pytest.mark.django_db(transaction=True)
    def test_it_kills_resumes_forks_and_prunes(self, settings: Any) -> None:
        settings.DEBUG = True
        text = output_of("demo", no_serve=True)
        last = expected_last_step(len(distributions.installed()))
        assert f"Resumed after step {last // 2}, finished at {last}." in text
        assert f"Forked at step {last // 4}, finished at {last}." in text
        assert len(re.findall(r"^  ok  ", text, re.MULTILINE)) == 4
        figures = rf'"demo-1-fork": {last + 1 - 5} steps, .+\n'
        pruned = rf"prune(d)? {last + 1 - 5} steps and 0 sessions\n"
        assert re.search(rf"{figures}would {pruned}[^\n]+\n +{figures}{pruned}", text)
        password = re.search(r"password  (\S+)", text)
        assert password is not None
        user = get_user_model().objects.get(username="demo")
        assert user.is_superuser
        assert user.check_password(password[1])

    @pytest.mark.vendor("sqlite")
    def test_it_works_from_nothing_and_again(self, tmp_path: Path) -> None:
        extra = tmp_path / "site"
        extra.mkdir()
        install(extra, "broken", "Name: broken\n", {})
        database = tmp_path / "demo.sqlite3"
        environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{database}",
            "DJANGO_SETTINGS_MODULE": "example_project.settings",
            "DJANGO_DEBUG": "1",
            "PYTHONPATH": str(extra),
            "PYTHONIOENCODING": "utf-8",
        }
        command = [sys.executable, str(BASE_DIR / "manage.py"), "demo", "--no-serve"]
        for number in (1, 2):
            done = subprocess.run(
                command,
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                encoding="utf-8",
                timeout=120,
            )
            assert (done.returncode, done.stderr) == (0, "")
            assert f"1. Audit demo-{number}\n" in done.stdout
            assert "error     broken: the metadata is invalid (metadata, invalid)" in done.stdout
        with closing(sqlite3.connect(database)) as connection:
            sessions = connection.execute(
                "SELECT id, status, forked_from FROM weavegraph_checkpoints_session ORDER BY id"
            ).fetchall()
        assert sessions == [
            ("demo-1", "finished", ""),
            ("demo-1-fork", "finished", "demo-1"),
            ("demo-2", "finished", ""),
            ("demo-2-fork", "finished", "demo-2"),
        ]

    @pytest.mark.vendor("sqlite")
    def test_its_second_part_can_be_watched(self, tmp_path: Path) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as probe:
            port = probe.getsockname()[1]
        environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{tmp_path}/demo.sqlite3",
            "DJANGO_SETTINGS_MODULE": "example_project.settings",
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, str(BASE_DIR / "manage.py"), "demo", "--watch"]
        with subprocess.Popen(
            [*command, f"--port={port}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                text = ""
                while "2. Audit demo-1 again" not in text:
                    text += process.stdout.readline()
                page = re.search(r"Switch on Follow at (\S+)", text)
                assert page is not None
                with urlopen(page[1], timeout=60) as response:
                    assert "/admin/login/" in response.url
                assert re.search(r"Sign in at \S+/admin/ as demo, password \S+", text)
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)

    def test_a_port_in_use_is_told_before_the_work(self, settings: Any) -> None:
        settings.DEBUG = True
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(CommandError, match=f"Port {port} cannot be used"):
                output_of("demo", port=port)

    def test_a_port_that_cannot_be_is_told(self, settings: Any) -> None:
        settings.DEBUG = True
        with pytest.raises(CommandError, match="Port 99999 cannot be used"):
            output_of("demo", port=99999)

    def test_it_makes_no_superuser_without_debug(self, settings: Any) -> None:
        settings.DEBUG = False
        with pytest.raises(CommandError, match="runs only with DEBUG"):
            output_of("demo", no_serve=True)
