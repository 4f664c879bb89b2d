"""The SQL that ``sqlmigrate`` prints runs in the clients of the databases."""

from __future__ import annotations

import shutil
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import APP
from tests.triggers.helpers import (
    assert_snapshots_right,
    content,
    create_session,
    create_step,
    derived,
    snapshot,
)
from tests.triggers.test_dumps import run
from weavegraph_checkpoints import triggers

CLIENTS = {
    "mysql": ("mariadb",),
    "postgresql": ("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"),
    "sqlite": ("sqlite3", "-bail"),
}
CLIENT = CLIENTS[connection.vendor]

pytestmark = pytest.mark.skipif(shutil.which(CLIENT[0]) is None, reason=f"needs {CLIENT[0]}")


def run_printed_sql(scratch: BaseDatabaseWrapper, migration: str, *options: str) -> str:
    """Run what ``sqlmigrate`` prints in the client of the database, and return it."""
    printed = StringIO()
    call_command("sqlmigrate", APP, migration, *options, database="scratch", stdout=printed)
    sql = printed.getvalue()
    run(*CLIENT, stdin=sql.encode(), connection=scratch)
    return sql


def test_forwards_and_backwards(empty_scratch: BaseDatabaseWrapper) -> None:
    run_printed_sql(empty_scratch, "0001")
    for _ in range(2):
        run_printed_sql(empty_scratch, "0002")
        assert triggers.problems(empty_scratch) == []
    create_session("a", using="scratch")
    create_step("a", 3, tag=3, using="scratch")
    create_step("a", 2, tag=2, using="scratch")
    assert snapshot("a", "scratch") == derived({3: content(3)})
    assert_snapshots_right("scratch")
    run_printed_sql(empty_scratch, "0002", "--backwards")
    assert {problem.kind for problem in triggers.problems(empty_scratch)} == {"missing"}


@pytest.mark.vendor("mysql")
def test_the_delimiter_is_restored(empty_scratch: BaseDatabaseWrapper) -> None:
    run_printed_sql(empty_scratch, "0001")
    lines = run_printed_sql(empty_scratch, "0002").splitlines()
    delimiters = [line for line in lines if line.startswith("DELIMITER")]
    assert delimiters == ["DELIMITER $$", "DELIMITER ;"] * 3
