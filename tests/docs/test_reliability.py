"""``docs/reliability.md``: the documented settings work, and its tables can be updated."""

from __future__ import annotations

import ast
from typing import Any

from django.db import connection, connections

from tests.docs.code_blocks import run_blocks
from tests.docs.markdown import names, page, rows
from tests.docs.test_facts import SETTINGS
from tests.service.racing import alias_like
from tests.strategies import a_checkpoint
from tests.torture import report
from tests.torture.__main__ import PARTS, ROOT
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

PAGE = page("reliability")
LIMITS = {
    "sqlite": ("PRAGMA busy_timeout", 20_000),
    "postgresql": ("SHOW lock_timeout", "20s"),
    "mysql": ("SELECT @@innodb_lock_wait_timeout", 20),
}


def test_the_documented_lock_time_outs_are_in_force(committed: None) -> None:
    table = {row[0]: names(row[2])[0] for row in rows(PAGE.section("Lock timeouts"))}
    options = ast.literal_eval("{" + table[SETTINGS[connection.vendor]] + "}")
    statement, limit = LIMITS[connection.vendor]
    with (
        alias_like("default", "patient", OPTIONS=options) as alias,
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(statement)
        assert cursor.fetchone()[0] == limit


def test_a_patient_save(given: dict[str, Any]) -> None:
    namespace = run_blocks(PAGE, given)
    namespace["save_patiently"](DjangoCheckpointer(), a_checkpoint("patient", 1))
    assert DjangoCheckpointer().list_sessions() == ["patient"]


def test_every_part_of_the_torture_is_there() -> None:
    for part in PARTS:
        assert (ROOT / "tests" / "torture" / f"test_{part}.py").exists()


def test_figures_replace_those_of_the_same_database_alone() -> None:
    text = PAGE.text
    for database, kills in (("MariaDB 1", 1), ("SQLite 1", 2), ("SQLite 2", 3)):
        entry = {"part": "kills", "database": database, "run": "now", "figures": {"kills": kills}}
        text = report.update_tables(text, [entry])
    table = text.partition("<!-- kills -->")[2].partition("<!-- end of kills -->")[0]
    assert list(rows(table)) == [["SQLite 2", "3", "now"], ["MariaDB 1", "1", "now"]]
    twice = [
        {"part": "disk full", "database": "SQLite 2", "run": "now", "figures": {"what": what}}
        for what in ("pages", "a | b")
    ]
    table = report.update_tables(text, twice).partition("<!-- disk full -->")[2]
    assert list(rows(table)) == [["SQLite 2", "pages", "now"], ["SQLite 2", "a \\| b", "now"]]
    assert report.update_tables(text, []) == text
