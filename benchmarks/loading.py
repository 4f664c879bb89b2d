"""A database of its own, and tables filled with small steps by plain SQL."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from example_project.database_url import parse_database_url

URLS = {"PostgreSQL": "TEST_POSTGRES_URL", "MariaDB": "TEST_MARIADB_URL"}
STATE_CHARACTERS = (100, 500)
ROWS_AT_ONCE = 1000

Database = dict[str, Any]


def available() -> list[str]:
    """Return the names of the databases to measure: SQLite, and each server with a URL."""
    return ["SQLite", *(name for name, variable in URLS.items() if os.environ.get(variable))]


def own_database(name: str, folder: str, suffix: str = "") -> Database:
    """Return the settings of a database that the benchmark makes and drops."""
    if name in URLS:
        database = parse_database_url(os.environ[URLS[name]], base_dir=Path(folder))
        own = f"weavegraph_benchmark_{os.getpid()}{suffix}"
    else:
        file = f"benchmark{suffix}.sqlite3"
        database = parse_database_url(f"sqlite:///{file}", base_dir=Path(folder))
        own = database["NAME"]
    return {**database, "TEST": {"NAME": own, "CHARSET": None if name != "MariaDB" else "utf8mb4"}}


def use(database: Database) -> None:
    """Set Django up; once in a process."""
    settings.configure(
        DATABASES={"default": database}, INSTALLED_APPS=["weavegraph_checkpoints"], USE_TZ=True
    )
    django.setup()


def create(database: Database) -> str:
    """Make the database with the app's tables, and return what its server calls itself."""
    use(database)
    from django.db import connection

    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    version = ".".join(str(number) for number in connection.get_database_version())
    connection.close()
    return version


def drop(database: Database) -> None:
    """Drop the database."""
    use(database)
    from django.db import connection

    connection.creation._destroy_test_db(database["TEST"]["NAME"], verbosity=0)


def fill(database: Database, sessions: int, steps: int, seed: int, now: datetime) -> None:
    """Fill the empty tables: each session with steps 1, 2…, an hour apart up to ``now``."""
    use(database)
    from django.db import connection, transaction

    from weavegraph_checkpoints import triggers
    from weavegraph_checkpoints.backends.base import SESSION, STEP

    triggers.remove()
    with transaction.atomic(), connection.cursor() as cursor:
        for table in (STEP, SESSION):
            cursor.execute(f"DELETE FROM {table}")
        rows = _steps(connection, sessions, steps, random.Random(seed), now)
        for start in range(0, sessions, ROWS_AT_ONCE):
            ids = [_name(n) for n in range(start, min(start + ROWS_AT_ONCE, sessions))]
            cursor.executemany(
                f"INSERT INTO {SESSION} (id, owner, concurrency_limit, created_at, updated_at,"
                " last_step, revision, status, forked_from)"
                " VALUES (%s, '', 1, %s, %s, %s, %s, 'resumable', '')",
                [
                    (name, instant(connection, now), instant(connection, now), steps, steps)
                    for name in ids
                ],
            )
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            cursor.executemany(
                f"INSERT INTO {STEP} (session_id, step, created_at, message_count, error_count,"
                " state_bytes, frontier, ran_nodes, skipped_nodes, versions_seen, state)"
                " VALUES (%s, %s, %s, 1, 0, %s, '[\"Custom:work\"]', '[\"Custom:work\"]', '[]',"
                " '{}', %s)",
                batch,
            )
    triggers.install()
    settle(connection)


def _steps(
    connection: Any, sessions: int, steps: int, chance: random.Random, now: datetime
) -> Iterator[tuple[Any, ...]]:
    for number in range(sessions):
        for step in range(1, steps + 1):
            text = "x" * chance.randint(*STATE_CHARACTERS)
            state = json.dumps(
                {
                    "messages": {"version": 1, "items": [{"role": "user", "content": text}]},
                    "extra": {"version": 1, "map": {}},
                    "errors": {"version": 1, "items": []},
                }
            )
            made = instant(connection, now - timedelta(hours=steps - step))
            yield _name(number), step, made, len(state), state


def _name(number: int) -> str:
    return f"session-{number:07}"


def instant(connection: Any, value: datetime) -> Any:
    """Return a time as the database takes it."""
    return connection.ops.adapt_datetimefield_value(value)


def settle(connection: Any) -> None:
    """Let the database know its new tables, as it would be in daily use."""
    statement = {"mysql": None, "postgresql": "VACUUM ANALYZE", "sqlite": None}[connection.vendor]
    if statement is not None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
