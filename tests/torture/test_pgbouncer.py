"""PgBouncer in transaction mode: the contract tests pass, and killed clients leave no locks."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests.scratch import migrate
from tests.servers import PgBouncer, PostgresServer, skip_without, temporary_server
from tests.servers.pgbouncer import POOL_SIZE
from tests.settings.base import BEHIND_PGBOUNCER
from tests.torture.conftest import Report
from tests.torture.supervisor import Supervisor
from tests.torture.verification import find_faults, wait_for_disconnects

pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(1800),
    pytest.mark.vendor("postgresql"),
]

ROOT = Path(__file__).resolve().parent.parent.parent
SUITES = (
    "tests/contract",
    "tests/service/test_concurrency_check.py",
    "tests/service/test_owner.py",
    "tests/service/test_races.py",
    "tests/service/test_transactions.py",
)
RUN = "pool"
WRITERS, KILLS = 8, 30


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    skip_without("pgbouncer", "pgbouncer")
    with temporary_server(PostgresServer) as server:
        yield server


@pytest.fixture
def pool(server: PostgresServer) -> Iterator[PgBouncer]:
    with temporary_server(PgBouncer, upstream=server) as pool:
        yield pool


def transactions(pool: PgBouncer) -> int:
    """Return how many transactions went through the pool."""
    return sum(int(row[1]) for row in pool.execute("SHOW STATS", name="pgbouncer"))


def test_the_contract_holds(
    server: PostgresServer, pool: PgBouncer, report: Report, seed: int, django_db_blocker: Any
) -> None:
    with django_db_blocker.unblock():
        for name in (f"test_weavegraph_{RUN}_default", f"test_weavegraph_{RUN}_other"):
            server.create_database(name)
            with server.alias("direct", NAME=name) as alias:
                migrate(connections[alias])
    before = transactions(pool)
    own = {
        "TEST_POSTGRES_URL": f"postgres://{pool.user}@127.0.0.1:{pool.port}/postgres",
        "WEAVEGRAPH_TEST_RUN": RUN,
        "DJANGO_SETTINGS_MODULE": "tests.settings.pgbouncer",
    }
    arguments = ["-q", "--reuse-db", f"--randomly-seed={seed}", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, *SUITES],
        cwd=ROOT,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    through = transactions(pool) - before
    assert through > int(passed.group(1))
    with django_db_blocker.unblock(), server.alias("direct", NAME="postgres") as alias:
        report(
            "pgbouncer contract",
            alias,
            tests_passed=int(passed.group(1)),
            transactions_through_the_pool=through,
            connections_of_the_pool=POOL_SIZE,
        )


def test_killed_clients_leave_nothing_behind(
    server: PostgresServer, pool: PgBouncer, report: Report, seed: int, django_db_blocker: Any
) -> None:
    chance = random.Random(seed)
    server.create_database()
    with (
        django_db_blocker.unblock(),
        server.alias("direct") as direct,
        pool.alias("pooled", **BEHIND_PGBOUNCER) as pooled,
    ):
        migrate(connections[direct])
        connections[direct].close()
        with Supervisor([connections.settings[pooled]], WRITERS, seed) as supervisor:
            journal = supervisor.journal
            while supervisor.killed < KILLS:
                supervisor.wait_for_saves(journal.acknowledged + chance.randrange(60))
                supervisor.receive(chance.uniform(0, 0.005))
                supervisor.kill(1)
            supervisor.stop()
        pool.kill()
        wait_for_disconnects(direct)
        found = find_faults(journal, direct)
        report(
            "pgbouncer kills",
            direct,
            kills=supervisor.killed,
            acknowledged_saves=journal.acknowledged,
            lost=len(found),
            errors=len(journal.failures),
        )
    assert found == []
    assert journal.failures == []
    assert journal.warnings == []
