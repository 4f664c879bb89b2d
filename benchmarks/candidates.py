"""What is compared: this app, LangGraph's checkpointers, and the bare database drivers.

Each has its own database and the same durability: WAL and ``synchronous=FULL`` on SQLite,
``fsync`` and ``synchronous_commit`` on PostgreSQL, ``innodb_flush_log_at_trx_commit=1`` on
MariaDB. The objects that a caller already holds (a ``Checkpoint``; LangGraph's dicts) are built
before the clock starts; results are decoded within the measured time.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from django.db import connections

from benchmarks.harness import create_tables, record_statements, temporary_databases
from weavegraph_checkpoints import Checkpoint, NodeKind, StepQuery, VersionedState
from weavegraph_checkpoints.querysets import contains_node
from weavegraph_checkpoints.serde.values import state_document

# Only `make bench` installs them.
with suppress(ImportError):
    import psycopg
    from psycopg.conninfo import make_conninfo

SERVERS = ("SQLite", "PostgreSQL", "MariaDB")
DRIVERS = {"SQLite": "sqlite3", "PostgreSQL": "psycopg", "MariaDB": "mysqlclient"}
NAMED_PLACEHOLDER = re.compile(r"%\((\w+)\)s")


class Candidate:
    """Something that saves and loads checkpoints in its own database.

    Operations are the methods ``save``, ``save_checked`` (if the previous step is the session's
    last), ``load_latest``, ``page`` (the newest steps), ``page_of_node`` (the newest in which a
    node ran) and ``fork``; a candidate may lack some. ``prepare`` returns the arguments of
    ``save`` and ``save_checked`` for one session, from its first step on.
    """

    title: str
    servers: tuple[str, ...] = SERVERS

    def __init__(self, server: str, alias: str = "") -> None:
        self.server = server
        self.name = self.title.format(server=server, driver=DRIVERS[server])
        self.alias = alias or f"{server}-{type(self).__name__}".lower()
        self.resources = ExitStack()

    @property
    def database(self) -> str:
        """The name of its database."""
        return connections[self.alias].settings_dict["NAME"]

    def create(self) -> None:
        """Create the tables in the empty database."""
        create_tables(self.alias)

    def close(self) -> None:
        """Disconnect."""
        self.resources.close()


class App(Candidate):
    """``DjangoCheckpointer``, with the settings of docs/databases.md."""

    title = "this app ({server})"

    def open(self) -> None:
        from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

        self.checkpointer = DjangoCheckpointer(using=self.alias)
        self.save = self.checkpointer.save
        self.load_latest = self.checkpointer.load_latest
        self.fork = self.checkpointer.fork_session
        connections[self.alias].ensure_connection()
        self.resources.callback(connections[self.alias].close)

    def prepare(self, session_id: str, checkpoints: Sequence[Checkpoint]) -> list[Any]:
        return [replace(checkpoint, session_id=session_id) for checkpoint in checkpoints]

    def save_checked(self, prepared: Checkpoint) -> None:
        self.checkpointer.save_with_concurrency_check(prepared, prepared.step - 1)

    def page(self, session_id: str, limit: int) -> Sequence[Any]:
        return self.checkpointer.query_steps(session_id, StepQuery(limit=limit)).checkpoints

    def page_of_node(self, session_id: str, node: str, limit: int) -> Sequence[Any]:
        query = StepQuery(limit=limit, ran_node=NodeKind.custom(node))
        return self.checkpointer.query_steps(session_id, query).checkpoints


Statement = tuple[str, list[tuple[int, Any]]]
"""SQL, and per placeholder either the index of an argument, or -1 and a constant."""


class Bare(Candidate):
    """The driver alone: the statements that the app sends, on the same tables.

    They are recorded while the app performs each operation once. A save encodes the state with
    msgspec; a read decodes each JSON column of each row, without types or validation.
    """

    title = "bare {driver}"

    encode = staticmethod(msgspec.json.Encoder().encode)
    decode = staticmethod(msgspec.json.Decoder().decode)

    def open(self) -> None:
        self.connection = self.resources.enter_context(closing(connect_driver(self)))
        self._record()

    def _record(self) -> None:
        app = App(self.server, self.alias)
        app.open()
        source, copy = f"recorded-{os.getpid()}", f"copy-{os.getpid()}"
        first, second, third = app.prepare(source, RECORDED_STEPS)
        app.save(first)
        operations: dict[str, tuple[list[Any], Callable[[], Any]]] = {
            "save": (self._row(second), lambda: app.save(second)),
            "save_checked": ([*self._row(third), 2], lambda: app.save_checked(third)),
            "load_latest": ([source], lambda: app.load_latest(source)),
            "page": ([source, 17], lambda: app.page(source, 17)),
            "page_of_node": (
                [source, self._node("plan"), 17],
                lambda: app.page_of_node(source, "plan", 17),
            ),
            "fork": ([source, copy], lambda: app.fork(source, copy)),
        }
        self.statements: dict[str, list[Statement]] = {}
        for name, (arguments, call) in operations.items():
            with record_statements(self.alias) as recorded:
                call()
            self.statements[name] = [
                self._statement(sql, parameters, arguments) for sql, parameters in recorded
            ]
        app.checkpointer.delete_session(source)
        app.checkpointer.delete_session(copy)
        app.close()

    def _statement(self, sql: str, parameters: Any, arguments: list[Any]) -> Statement:
        if isinstance(parameters, dict):
            parameters = [parameters[name] for name in NAMED_PLACEHOLDER.findall(sql)]
            sql = NAMED_PLACEHOLDER.sub("%s", sql)
        if self.server == "SQLite":
            sql = sql.replace("%s", "?").replace("%%", "%")
        return sql, [
            (arguments.index(value), None) if value in arguments else (-1, value)
            for value in parameters or ()
        ]

    def _row(self, checkpoint: Checkpoint) -> list[Any]:
        """Return the values that the app writes for a checkpoint."""
        from weavegraph_checkpoints.backends.rows import StepRow

        return list(StepRow.from_checkpoint(checkpoint, None).parameters(connections[self.alias]))

    def _node(self, name: str) -> str:
        return contains_node(connections[self.alias].vendor, "", NodeKind.custom(name))[1][0]

    def prepare(self, session_id: str, checkpoints: Sequence[Checkpoint]) -> list[Any]:
        from weavegraph_checkpoints.models import Session

        Session.objects.using(self.alias).create(id=session_id)
        return [
            (
                self._row(replace(checkpoint, session_id=session_id))[:-1],
                state_document(checkpoint.state),
                checkpoint.step - 1,
            )
            for checkpoint in checkpoints
        ]

    def save(self, prepared: Any) -> None:
        row, document, _ = prepared
        self._write("save", [*row, self.encode(document).decode()])

    def save_checked(self, prepared: Any) -> None:
        row, document, previous = prepared
        self._write("save_checked", [*row, self.encode(document).decode(), previous])

    def load_latest(self, session_id: str) -> Any:
        return self._read("load_latest", [session_id])[0]

    def page(self, session_id: str, limit: int) -> Sequence[Any]:
        return self._read("page", [session_id, limit])

    def page_of_node(self, session_id: str, node: str, limit: int) -> Sequence[Any]:
        return self._read("page_of_node", [session_id, self._node(node), limit])

    def fork(self, source: str, target: str) -> None:
        self._write("fork", [source, target])

    def _write(self, name: str, arguments: list[Any]) -> None:
        if len(self.statements[name]) == 1:
            self._run(name, arguments)
        elif self.server == "PostgreSQL":
            with self.connection.transaction():
                self._run(name, arguments)
        else:
            if self.server == "MariaDB":
                self.connection.begin()
            self._run(name, arguments)
            self.connection.commit()

    def _run(self, name: str, arguments: list[Any]) -> Any:
        """Return the rows of the last statement."""
        rows = None
        for sql, parameters in self.statements[name]:
            cursor = self.connection.cursor()
            cursor.execute(
                sql, [value if index < 0 else arguments[index] for index, value in parameters]
            )
            if cursor.description:
                rows = cursor.fetchall()
            cursor.close()
        return rows

    def _read(self, name: str, arguments: list[Any]) -> list[Any]:
        decode = self.decode
        return [
            [
                decode(value) if type(value) is str and value[:1] in ("[", "{") else value
                for value in row
            ]
            for row in self._run(name, arguments)
        ]


RECORDED_STEPS = [
    Checkpoint(
        session_id="recorded",
        step=step,
        state=VersionedState.new_with_user_message(f"number {step}"),
        frontier=["act"],
        versions_seen={"Custom:plan": {"messages": step}},
        concurrency_limit=77,
        ran_nodes=["plan"],
        skipped_nodes=["review"],
        updated_channels=["messages"],
    )
    for step in (1, 2, 3)
]
"""No two values of a row are equal, so that each is recognised among recorded parameters."""


@contextmanager
def open_candidates(candidates: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Create their databases, open the candidates, and drop the databases at the end."""
    names = {each.alias: each.server for each in candidates.values()}
    with temporary_databases(names):
        try:
            for candidate in candidates.values():
                candidate.create()
                candidate.open()
            yield candidates
        finally:
            for candidate in candidates.values():
                candidate.close()


def connect_driver(candidate: Candidate) -> Any:
    """Connect with the bare driver, with the durability and the foreign keys of the app."""
    if candidate.server == "SQLite":
        connection: Any = sqlite3.connect(candidate.database, isolation_level=None, timeout=20)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=FAST")
        connection.execute("PRAGMA foreign_keys=ON")
    elif candidate.server == "PostgreSQL":
        connection = psycopg.connect(build_conninfo(candidate.alias), autocommit=True)
    else:
        import MySQLdb

        parameters = connections[candidate.alias].get_connection_params()
        level = parameters.pop("isolation_level", None) or "read committed"
        connection = MySQLdb.connect(**parameters)
        connection.cursor().execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        connection.autocommit(True)
    return connection


def build_conninfo(alias: str) -> str:
    """Return the connection string of libpq."""
    values = connections[alias].get_connection_params()
    keys = ("dbname", "user", "password", "host", "port")
    return make_conninfo(**{key: values[key] for key in keys if values.get(key)})


def get_bytes_on_disk(candidate: Candidate) -> int:
    """Return the size of a database; on PostgreSQL after a ``VACUUM``."""
    connection = connections[candidate.alias]
    with connection.cursor() as cursor:
        if candidate.server == "SQLite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.fetchall()
            size = Path(candidate.database).stat().st_size
        elif candidate.server == "PostgreSQL":
            cursor.execute("VACUUM")
            cursor.execute("SELECT pg_database_size(current_database())")
            (size,) = cursor.fetchone()
        else:
            cursor.execute(
                "SELECT SUM(file_size) FROM information_schema.innodb_sys_tablespaces"
                " WHERE name LIKE %s",
                [f"{candidate.database}/%"],
            )
            size = int(cursor.fetchone()[0])
    connection.close()
    return size


def get_log_bytes(candidate: Candidate) -> int | None:
    """Return how many bytes its server has written to its log; ``None`` on SQLite."""
    statements = {
        "PostgreSQL": "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn",
        "MariaDB": "SELECT variable_value FROM information_schema.global_status"
        " WHERE variable_name = 'INNODB_OS_LOG_WRITTEN'",
    }
    if candidate.server not in statements:
        return None
    with connections[candidate.alias].cursor() as cursor:
        cursor.execute(statements[candidate.server])
        return int(cursor.fetchone()[0])
