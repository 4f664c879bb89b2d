from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from django.db import connection, connections
from tqdm import tqdm

from tests.servers import MariaDBServer, PostgresServer, Server, skip_without_galera
from tests.torture import report as reports
from tests.torture.cluster import Cluster, migrated_cluster

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB"}

Report = Callable[..., None]


@dataclass(frozen=True)
class Sizes:
    """How often to do what in one run."""

    kills: int = 300
    saves: int = 100_000
    rounds: int = 200
    calls: int = 100_000
    server_kills: int = 20
    node_faults: int = 20


SHORT = Sizes(kills=40, saves=1_500, rounds=40, calls=2_000, server_kills=3, node_faults=3)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("torture")
    group.addoption("--short", action="store_true", help="small sizes, for a run of 2 minutes")
    for each in fields(Sizes):
        group.addoption(f"--{each.name.replace('_', '-')}", type=int, metavar="N")


@pytest.fixture(scope="session")
def sizes(pytestconfig: pytest.Config) -> Sizes:
    given = {each.name: pytestconfig.getoption(each.name) for each in fields(Sizes)}
    start = SHORT if pytestconfig.getoption("short") else Sizes()
    return replace(start, **{name: size for name, size in given.items() if size is not None})


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of ``--randomly-seed``; timing is not repeatable."""
    return int(pytestconfig.getoption("randomly_seed"))


@pytest.fixture
def report(seed: int, request: pytest.FixtureRequest) -> Report:
    """Record figures for ``docs/reliability.md``, and print them."""
    run = f"{reports.describe_machine()}, seed {seed}"

    def keep(part: str, using: str, **figures: Any) -> None:
        connection = connections[using]
        version = ".".join(map(str, connection.get_database_version()))
        shown = {name.replace("_", " "): _format_figure(value) for name, value in figures.items()}
        database = f"{NAMES[connection.vendor]} {version}"
        reports.add({"part": part, "database": database, "figures": shown, "run": run})
        summary = ", ".join(f"{name} {value}" for name, value in shown.items())
        sys.stderr.write(f"\n{part} on {database}, seed {seed}: {summary}\n")

    return keep


def _format_figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


@pytest.fixture
def server_kind() -> type[Server]:
    """The server class of the database under test."""
    return {"postgresql": PostgresServer, "mysql": MariaDBServer}[connection.vendor]


@pytest.fixture
def progress_bar() -> Iterator[Callable[[int, str], tqdm[Any]]]:
    """Create progress bars, which appear only on a terminal."""
    made: list[tqdm[Any]] = []

    def make(total: int, unit: str) -> tqdm[Any]:
        made.append(tqdm(total=total, unit=f" {unit}", disable=None, leave=False))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def started_cluster(django_db_blocker: Any) -> Iterator[Cluster]:
    """Three nodes of Galera with the tables of the app."""
    skip_without_galera()
    with django_db_blocker.unblock(), migrated_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(started_cluster: Cluster, django_db_blocker: Any) -> Iterator[Cluster]:
    """Three nodes of Galera, which are emptied afterwards."""
    with django_db_blocker.unblock():
        yield started_cluster
        started_cluster.clear()
