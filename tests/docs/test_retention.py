"""``docs/retention.md``: options, policies, schedules and SQL, each tried."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.core.management import BaseCommand
from django.db import connection

from tests.docs.code_blocks import run_blocks
from tests.docs.markdown import Block, names, page, rows
from tests.docs.test_names import shape, written
from tests.pruning.histories import build_history, create_histories, get_stored_steps
from weavegraph_checkpoints import conf
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.management.commands import prune_checkpoints
from weavegraph_checkpoints.pruning import DEFAULT_BATCH_SIZE, PruneResult, prune

PAGE = page("retention")
OPERATIONS = page("retention-operations")
VENDORS = {"SQLite": "sqlite", "PostgreSQL": "postgresql", "MariaDB": "mysql"}


def blocks(language: str) -> list[Block]:
    return [
        block for page in (PAGE, OPERATIONS) for block in page.blocks if block.language == language
    ]


def options(command: BaseCommand) -> set[str]:
    """Return the options of a command that are not every command's."""
    every = BaseCommand().create_parser("manage.py", "any")
    own = command.create_parser("manage.py", "own")
    return set(own._option_string_actions) - set(every._option_string_actions)


def test_every_option_is_documented() -> None:
    documented = [names(row[0])[0] for row in rows(PAGE.section("`prune_checkpoints`"))]
    assert sorted(documented) == sorted(options(prune_checkpoints.Command()))
    assert f"{DEFAULT_BATCH_SIZE:,}".replace(",", " ") in PAGE.section("`prune_checkpoints`")


def test_every_field_of_a_policy_is_documented() -> None:
    documented = [names(row[0])[0] for row in rows(PAGE.section("Policies"))]
    assert documented == [field.name for field in fields(RetentionPolicy)]


def test_every_field_of_a_result_is_documented() -> None:
    documented = [names(row[0])[0] for row in rows(PAGE.section("From Python"))]
    assert documented == [field.name for field in fields(PruneResult)]


def test_the_function_is_documented_with_its_parameters() -> None:
    (code,) = [each for each in PAGE.code if each.startswith("prune(")]
    assert written(f"`{' '.join(code.split())}`") == ("prune", shape(prune))


def test_the_numbers_of_the_command_are_documented() -> None:
    assert f"{prune_checkpoints.MIN_STEPS_FOR_SPACE_HINT:,}".replace(
        ",", " "
    ) in OPERATIONS.section("Reclaim disk space")
    assert f"status {prune_checkpoints.EXIT_INTERRUPTED}" in " ".join(PAGE.text.split())


def test_every_documented_policy_is_one(given: dict[str, Any], settings: Any) -> None:
    namespace = run_blocks(PAGE, given)
    for workload in ("CHAT", "AGENTS", "EVIDENCE"):
        settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": namespace[workload]}
        assert conf.retention()
    settings.WEAVEGRAPH_CHECKPOINTS = namespace["WEAVEGRAPH_CHECKPOINTS"]
    assert len(conf.retention()) == 2


@pytest.mark.parametrize("name", ["prune_checkpoints", "prune_in_the_background"])
def test_a_scheduled_task_prunes(given: dict[str, Any], settings: Any, name: str) -> None:
    namespace = run_blocks(OPERATIONS, given)
    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": [{"keep_last": 2, "session_ids": ["s"]}]}
    create_histories({"s": build_history(range(9))})
    task = namespace[name]
    getattr(task, "enqueue", task)()
    assert get_stored_steps()["s"] == {7, 8}


def test_the_crontab_runs_the_command() -> None:
    (block,) = blocks("cron")
    (line,) = block.text.splitlines()
    *times, command = line.split(maxsplit=5)
    limits = [59, 23, 31, 12, 7]
    assert all(text == "*" or int(text) <= limit for text, limit in zip(times, limits, strict=True))
    assert "%" not in command
    _tried(command.partition("manage.py ")[2].split())


def test_the_systemd_units_are_units(tmp_path: Path) -> None:
    service, timer = blocks("ini")
    units = {"prune-checkpoints.service": service.text, "prune-checkpoints.timer": timer.text}
    parsed = {name: ConfigParser(strict=True, interpolation=None) for name in units}
    for name, text in units.items():
        parsed[name].read_string(text)
        (tmp_path / name).write_text(text)
    assert parsed["prune-checkpoints.timer"]["Timer"]["OnCalendar"]
    command = parsed["prune-checkpoints.service"]["Service"]["ExecStart"]
    _tried(command.partition("manage.py ")[2].split())
    if shutil.which("systemd-analyze"):
        calendar = parsed["prune-checkpoints.timer"]["Timer"]["OnCalendar"]
        done = subprocess.run(
            ["systemd-analyze", "calendar", calendar], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in units)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        for complaint in ("Unknown", "Invalid", "Failed to parse", "Missing", "ignoring"):
            assert complaint not in done.stderr


def _tried(words: list[str]) -> None:
    """Parse the words of a command line as ``manage.py`` does."""
    name, *arguments = words
    assert name == "prune_checkpoints"
    prune_checkpoints.Command().create_parser("manage.py", name).parse_args(arguments)


def test_every_command_line_is_one() -> None:
    for block in blocks("console"):
        for line in block.text.splitlines():
            _tried(line.partition("#")[0].partition("manage.py ")[2].split())


def test_the_sql_runs(transactional_db: None) -> None:
    tried = 0
    for block in blocks("sql"):
        title, _, statements = block.text.partition("\n")
        vendor = VENDORS[title.removeprefix("-- ")]
        for statement in statements.split(";"):
            if vendor == connection.vendor and statement.strip():
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                tried += 1
    assert tried
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for table, options in re.findall(
                r"ALTER TABLE (\w+) SET \((.*?)\)", OPERATIONS.text, re.S
            ):
                reset = ", ".join(re.findall(r"([\w.]+) =", options))
                cursor.execute(f"ALTER TABLE {table} RESET ({reset})")
