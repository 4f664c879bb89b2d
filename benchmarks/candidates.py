"""Those who are compared: this app, its peers, and the bare drivers below it.

Each has a database of its own, is asked for the same work, and is as durable as the others: WAL and
``synchronous=FULL``, ``fsync`` and ``synchronous_commit`` on, ``innodb_flush_log_at_trx_commit=1``.
What a caller of each has in hand anyway (a ``Checkpoint``; LangGraph's dicts) is made before the
clock starts; what comes back is decoded inside the time.
"""

from __future__ import annotations

import os
import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import django
import msgspec
from django.conf import settings
from django.db import connections

from benchmarks import loading
from weavegraph_checkpoints import Checkpoint, NodeKind, StepQuery, VersionedState
from weavegraph_checkpoints.querysets import contains_node
from weavegraph_checkpoints.serde.values import state_document

Database = loading.Database


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a candidate keeps its data; can be sent to another process."""

    kind: str
    """A key of ``KINDS``."""
    server: str
    """SQLite, PostgreSQL or MariaDB."""
    database: Database

    @property
    def name(self) -> str:
        """What the tables call it."""
        return KINDS[self.kind].title.format(server=self.server, driver=DRIVERS[self.server])

    @property
    def alias(self) -> str:
        """The alias of its database."""
        return f"{self.server}-{self.kind}".lower()


NAMED = re.compile(r"%\((\w+)\)s")
DRIVERS = {"SQLite": "sqlite3", "PostgreSQL": "psycopg", "MariaDB": "mysqlclient"}


class Candidate(ABC):
    """One who is measured. What it does not offer raises ``NotImplementedError``."""

    title: str
    servers: tuple[str, ...]

    def __init__(self, place: Place) -> None:
        self.place = place
        self.on_close = ExitStack()

    @abstractmethod
    def create(self) -> None:
        """Make the tables; the database is new."""

    @abstractmethod
    def open(self) -> None:
        """Connect, and be ready to be measured."""

    def offers(self, operation: str) -> bool:
        """Say whether this is more than the base class has."""
        return getattr(type(self), operation) is not getattr(Candidate, operation)

    def close(self) -> None:
        """Disconnect."""
        self.on_close.close()

    @abstractmethod
    def prepared(self, session_id: str, checkpoints: Sequence[Checkpoint]) -> list[Any]:
        """Return what ``save`` takes, for one session from its first step on."""

    @abstractmethod
    def save(self, prepared: Any) -> None:
        """Save a step."""

    def save_checked(self, prepared: Any) -> None:
        """Save a step if the one before it is the session's last."""
        raise NotImplementedError

    @abstractmethod
    def load_latest(self, session_id: str) -> Any:
        """Return the newest step."""

    @abstractmethod
    def page(self, session_id: str, limit: int) -> Sequence[Any]:
        """Return the newest steps."""

    @abstractmethod
    def page_of_node(self, session_id: str, node: str, limit: int) -> Sequence[Any]:
        """Return the newest steps in which a node ran."""

    def fork(self, source: str, target: str) -> None:
        """Copy a session."""
        raise NotImplementedError

    @abstractmethod
    def answer(self, statement: str) -> Any:
        """Return the one value that a statement gives, asked on the measured connection."""


class App(Candidate):
    """``DjangoCheckpointer``, with the settings of docs/databases.md."""

    title = "this app ({server})"
    servers = ("SQLite", "PostgreSQL", "MariaDB")

    def create(self) -> None:
        create_tables(self.place.alias)

    def open(self) -> None:
        from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

        self.checkpointer = DjangoCheckpointer(using=self.place.alias)
        connections[self.place.alias].ensure_connection()
        self.on_close.callback(connections[self.place.alias].close)

    def answer(self, statement: str) -> Any:
        with connections[self.place.alias].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]

    def prepared(self, session_id: str, checkpoints: Sequence[Checkpoint]) -> list[Any]:
        return [replace(checkpoint, session_id=session_id) for checkpoint in checkpoints]

    def save(self, prepared: Checkpoint) -> None:
        self.checkpointer.save(prepared)

    def save_checked(self, prepared: Checkpoint) -> None:
        self.checkpointer.save_with_concurrency_check(prepared, prepared.step - 1)

    def load_latest(self, session_id: str) -> Any:
        return self.checkpointer.load_latest(session_id)

    def page(self, session_id: str, limit: int) -> Sequence[Any]:
        return self.checkpointer.query_steps(session_id, StepQuery(limit=limit)).checkpoints

    def page_of_node(self, session_id: str, node: str, limit: int) -> Sequence[Any]:
        query = StepQuery(limit=limit, ran_node=NodeKind.custom(node))
        return self.checkpointer.query_steps(session_id, query).checkpoints

    def fork(self, source: str, target: str) -> None:
        self.checkpointer.fork_session(source, target)


@dataclass(frozen=True)
class Statement:
    """A statement of the app, and where its parameters come from."""

    sql: str
    parameters: tuple[tuple[int, Any], ...]
    """Either the position among the arguments, or -1 and the parameter itself."""

    def filled(self, arguments: Sequence[Any]) -> list[Any]:
        """Return the parameters."""
        return [fixed if place < 0 else arguments[place] for place, fixed in self.parameters]


class Bare(Candidate):
    """The driver alone: the statements that the app sends, on the same tables.

    They are listened to while the app works once. A save encodes the state with msgspec,
    a read decodes each JSON column of each row, without types and without checks.
    """

    title = "bare {driver}"
    servers = ("SQLite", "PostgreSQL", "MariaDB")

    encode = staticmethod(msgspec.json.Encoder().encode)
    decode = staticmethod(msgspec.json.Decoder().decode)

    def create(self) -> None:
        create_tables(self.place.alias)

    def open(self) -> None:
        self.connection = self.on_close.enter_context(connected(self.place))
        self._listen()

    def answer(self, statement: str) -> Any:
        cursor = self.connection.cursor()
        cursor.execute(statement)
        return cursor.fetchone()[0]

    def _listen(self) -> None:
        """Let the app do everything once, and keep its statements."""
        app = App(self.place)
        app.open()
        django_connection = connections[self.place.alias]
        heard_id, copy_id = f"heard-{os.getpid()}", f"copy-{os.getpid()}"
        first, second, third = app.prepared(heard_id, _TELLING)
        app.save(first)
        self.statements: dict[str, list[Statement]] = {}
        works: dict[str, tuple[list[Any], Callable[[], Any]]] = {
            "save": (self._row(second), lambda: app.save(second)),
            "save_checked": ([*self._row(third), 2], lambda: app.save_checked(third)),
            "load_latest": ([heard_id], lambda: app.load_latest(heard_id)),
            "page": ([heard_id, 17], lambda: app.page(heard_id, 17)),
            "page_of_node": (
                [heard_id, self._node("tell"), 17],
                lambda: app.page_of_node(heard_id, "tell", 17),
            ),
            "fork": ([heard_id, copy_id], lambda: app.fork(heard_id, copy_id)),
        }
        for name, (arguments, work) in works.items():
            heard: list[tuple[str, Sequence[Any]]] = []
            with django_connection.execute_wrapper(listener(heard)):
                work()
            self.statements[name] = [
                self._statement(sql, parameters, arguments) for sql, parameters in heard
            ]
        app.checkpointer.delete_session(heard_id)
        app.checkpointer.delete_session(copy_id)
        app.close()

    def _statement(self, sql: str, parameters: Any, arguments: list[Any]) -> Statement:
        if isinstance(parameters, dict):
            parameters = [parameters[name] for name in NAMED.findall(sql)]
            sql = NAMED.sub("%s", sql)
        if self.place.server == "SQLite":
            sql = sql.replace("%s", "?").replace("%%", "%")
        places = tuple(
            (arguments.index(value), None) if value in arguments else (-1, value)
            for value in parameters or ()
        )
        return Statement(sql, places)

    def _row(self, checkpoint: Checkpoint) -> list[Any]:
        """Return what the app writes of a checkpoint."""
        from weavegraph_checkpoints.backends.rows import StepRow

        row = StepRow.from_checkpoint(checkpoint, None)
        return list(row.parameters(connections[self.place.alias]))

    def prepared(self, session_id: str, checkpoints: Sequence[Checkpoint]) -> list[Any]:
        from weavegraph_checkpoints.models import Session

        Session.objects.using(self.place.alias).create(id=session_id)
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
        row, document, before = prepared
        self._write("save_checked", [*row, self.encode(document).decode(), before])

    def load_latest(self, session_id: str) -> Any:
        return self._read("load_latest", [session_id])[0]

    def page(self, session_id: str, limit: int) -> Sequence[Any]:
        return self._read("page", [session_id, limit])

    def page_of_node(self, session_id: str, node: str, limit: int) -> Sequence[Any]:
        return self._read("page_of_node", [session_id, self._node(node), limit])

    def _node(self, name: str) -> str:
        vendor = connections[self.place.alias].vendor
        return contains_node(vendor, "", NodeKind.custom(name))[1]

    def fork(self, source: str, target: str) -> None:
        self._write("fork", [source, target])

    @contextmanager
    def without_fsync(self) -> Iterator[None]:
        """Let commits return before they are on disk; MariaDB has no such choice a session."""
        off, on = {
            "SQLite": ("PRAGMA synchronous=OFF", "PRAGMA synchronous=FULL"),
            "PostgreSQL": ("SET synchronous_commit = off", "SET synchronous_commit = on"),
        }[self.place.server]
        self.connection.cursor().execute(off)
        yield
        self.connection.cursor().execute(on)

    def _write(self, name: str, arguments: list[Any]) -> None:
        statements = self.statements[name]
        if len(statements) == 1:
            (statement,) = statements
            cursor = self.connection.cursor()
            cursor.execute(statement.sql, statement.filled(arguments))
            if cursor.description:
                cursor.fetchone()
            cursor.close()
            return
        with self._transaction():
            cursor = self.connection.cursor()
            for statement in statements:
                cursor.execute(statement.sql, statement.filled(arguments))
                if cursor.description:
                    cursor.fetchone()
            cursor.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self.place.server == "PostgreSQL":
            with self.connection.transaction():
                yield
            return
        if self.place.server == "MariaDB":
            self.connection.begin()
        yield
        self.connection.commit()

    def _read(self, name: str, arguments: list[Any]) -> list[Any]:
        decode = self.decode
        for statement in self.statements[name]:
            cursor = self.connection.cursor()
            cursor.execute(statement.sql, statement.filled(arguments))
            rows = [
                [
                    decode(value) if type(value) is str and value[:1] in ("[", "{") else value
                    for value in row
                ]
                for row in cursor
            ]
            cursor.close()
        return rows


_TELLING = [
    Checkpoint(
        session_id="heard",
        step=step,
        state=VersionedState.new_with_user_message(f"number {step}"),
        frontier=["listen"],
        versions_seen={"Custom:tell": {"messages": step}},
        concurrency_limit=77,
        ran_nodes=["tell"],
        skipped_nodes=["sleep"],
        updated_channels=["messages"],
    )
    for step in (1, 2, 3)
]
"""No two values of a row are the same, so that each is known again among parameters."""


def listener(heard: list[tuple[str, Any]]) -> Callable[..., Any]:
    """Return an execute wrapper that keeps each statement with its parameters."""

    def listen(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        heard.append((sql, params))
        return execute(sql, params, many, context)

    return listen


class LangGraph(Candidate):
    """A saver of LangGraph. Its channels are ``messages``, ``extra`` and ``errors``.

    Messages are plain dicts, the cheapest that it can be given, and a step's intermediate
    writes (``put_writes``), which its runtime saves too, are left out.
    """

    saver: Any

    def create(self) -> None:
        self.open()
        self.saver.setup()
        self.close()

    def prepared(self, session_id: str, checkpoints: Sequence[Checkpoint]) -> list[Any]:
        from langgraph.checkpoint.base.id import uuid6

        known: dict[int, dict[str, Any]] = {}
        versions: dict[str, str] = {}
        made: list[Any] = []
        config: dict[str, Any] = {"thread_id": session_id, "checkpoint_ns": ""}
        for checkpoint in checkpoints:
            changed = checkpoint.updated_channels if versions else ("messages", "extra", "errors")
            new = {
                channel: self.saver.get_next_version(versions.get(channel), None)
                for channel in changed
            }
            versions = versions | new
            values = state_document(checkpoint.state)
            identity = str(uuid6(clock_seq=checkpoint.step))
            document = {
                "v": 4,
                "id": identity,
                "ts": checkpoint.created_at.isoformat(),
                "channel_values": {
                    "messages": [
                        known.setdefault(
                            id(message), {"role": message.role, "content": message.content}
                        )
                        for message in values["messages"].items
                    ],
                    "extra": values["extra"].map,
                    "errors": msgspec.to_builtins(values["errors"]["items"]),
                },
                "channel_versions": versions,
                "versions_seen": {
                    node: {channel: versions[channel] for channel in channels}
                    for node, channels in checkpoint.versions_seen.items()
                },
                "updated_channels": list(changed),
            }
            metadata = {
                "source": "loop",
                "step": checkpoint.step,
                "parents": {},
                "ran_node": str(checkpoint.ran_nodes[0]),
            }
            made.append(({"configurable": config}, document, metadata, new))
            config = config | {"checkpoint_id": identity}
        return made

    def save(self, prepared: Any) -> None:
        self.saver.put(*prepared)

    def load_latest(self, session_id: str) -> Any:
        return self.saver.get_tuple(self._config(session_id))

    def page(self, session_id: str, limit: int) -> Sequence[Any]:
        return list(self.saver.list(self._config(session_id), limit=limit))

    def page_of_node(self, session_id: str, node: str, limit: int) -> Sequence[Any]:
        return list(
            self.saver.list(self._config(session_id), filter={"ran_node": node}, limit=limit)
        )

    def _config(self, session_id: str) -> Any:
        return {"configurable": {"thread_id": session_id, "checkpoint_ns": ""}}


class LangGraphSqlite(LangGraph):
    """``SqliteSaver.from_conn_string``, which its docs use; it sets WAL by itself."""

    title = "langgraph-sqlite"
    servers = ("SQLite",)

    def open(self) -> None:
        from langgraph.checkpoint.sqlite import SqliteSaver

        name = self.place.database["NAME"]
        self.saver = self.on_close.enter_context(SqliteSaver.from_conn_string(name))
        self.saver.conn.execute("PRAGMA synchronous=FULL")
        self.saver.conn.execute("PRAGMA secure_delete=FAST")

    def answer(self, statement: str) -> Any:
        return self.saver.conn.execute(statement).fetchone()[0]


class LangGraphPostgres(LangGraph):
    """``PostgresSaver.from_conn_string``: autocommit, dict_row, prepared statements."""

    title = "langgraph-postgres"
    servers = ("PostgreSQL",)
    options: dict[str, Any] = {}

    def create(self) -> None:
        from langgraph.checkpoint.postgres import PostgresSaver

        with PostgresSaver.from_conn_string(conninfo(self.place.database)) as saver:
            saver.setup()

    def open(self) -> None:
        from langgraph.checkpoint.postgres import PostgresSaver

        self.saver = self.on_close.enter_context(
            PostgresSaver.from_conn_string(conninfo(self.place.database), **self.options)
        )

    def answer(self, statement: str) -> Any:
        with self.saver._cursor() as cursor:
            (value,) = cursor.execute(statement).fetchone().values()
        return value


class LangGraphPipeline(LangGraphPostgres):
    """The same with ``pipeline=True``."""

    title = "langgraph-postgres, pipeline"
    options = {"pipeline": True}


class LangGraphPool(LangGraphPostgres):
    """A ``ConnectionPool``, with the arguments that its docs name."""

    title = "langgraph-postgres, pool"

    def open(self) -> None:
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool

        pool = ConnectionPool(
            conninfo(self.place.database),
            min_size=1,
            max_size=20,
            kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        )
        self.saver = PostgresSaver(self.on_close.enter_context(pool))


KINDS: dict[str, type[Candidate]] = {
    "app": App,
    "bare": Bare,
    "langgraph": LangGraphSqlite,
    "langgraph_default": LangGraphPostgres,
    "langgraph_pipeline": LangGraphPipeline,
    "langgraph_pool": LangGraphPool,
}


def places(servers: Sequence[str], folder: str) -> list[Place]:
    """Return a place for each candidate."""
    found = []
    for server in servers:
        for kind, candidate in KINDS.items():
            if server in candidate.servers:
                database = loading.own_database(server, folder, f"_{kind}")
                database["NAME"] = database["TEST"]["NAME"]
                found.append(Place(kind=kind, server=server, database=database))
    return found


def use(found: Sequence[Place]) -> dict[str, Candidate]:
    """Set Django up, once in a process, and return the candidates by their names."""
    configure({place.alias: place.database for place in found})
    return {place.name: KINDS[place.kind](place) for place in found}


def configure(databases: dict[str, Database]) -> None:
    """Set Django up for some aliases; once in a process."""
    settings.configure(
        DATABASES={"default": {}, **databases},
        INSTALLED_APPS=["weavegraph_checkpoints"],
        USE_TZ=True,
    )
    django.setup()


def create_database(alias: str) -> None:
    """Make an empty database."""
    connections[alias].creation._create_test_db(verbosity=0, autoclobber=True)


def create_tables(alias: str) -> None:
    """Make the app's tables."""
    from django.core.management import call_command

    call_command("migrate", database=alias, verbosity=0)
    connections[alias].close()


def drop_database(alias: str) -> None:
    """Drop a database."""
    connection = connections[alias]
    connection.close()
    connection.creation._destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


@contextmanager
def connected(place: Place) -> Iterator[Any]:
    """Connect by the bare driver, as durable as the app, and with its foreign keys."""
    database = place.database
    if place.server == "SQLite":
        connection: Any = sqlite3.connect(database["NAME"], isolation_level=None, timeout=20)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA secure_delete=FAST")
        connection.execute("PRAGMA foreign_keys=ON")
    elif place.server == "PostgreSQL":
        import psycopg

        connection = psycopg.connect(conninfo(database), autocommit=True)
    else:
        import MySQLdb

        parameters = connections[place.alias].get_connection_params()
        level = parameters.pop("isolation_level", None) or "read committed"
        connection = MySQLdb.connect(**parameters)
        connection.cursor().execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
        connection.autocommit(True)
    try:
        yield connection
    finally:
        connection.close()


def conninfo(database: Database) -> str:
    """Return how libpq names a database."""
    from psycopg.conninfo import make_conninfo

    values = {
        "dbname": database["NAME"],
        "user": database["USER"],
        "password": database["PASSWORD"],
        "host": database["HOST"],
        "port": database["PORT"],
    }
    return make_conninfo(**{key: value for key, value in values.items() if value})


def durability(candidate: Candidate) -> str:
    """Return what makes a commit durable, as its own connection says."""
    settled = DURABLE[candidate.place.server]
    return ", ".join(f"{name}={candidate.answer(statement)}" for statement, name in settled)


DURABLE = {
    "SQLite": (
        ("PRAGMA journal_mode", "journal_mode"),
        ("SELECT CASE synchronous WHEN 2 THEN 'FULL' END FROM pragma_synchronous", "synchronous"),
    ),
    "PostgreSQL": (
        ("SHOW fsync", "fsync"),
        ("SHOW synchronous_commit", "synchronous_commit"),
        ("SHOW full_page_writes", "full_page_writes"),
    ),
    "MariaDB": (
        ("SELECT @@innodb_flush_log_at_trx_commit", "innodb_flush_log_at_trx_commit"),
        ("SELECT @@innodb_doublewrite", "innodb_doublewrite"),
        ("SELECT @@log_bin", "log_bin"),
    ),
}


CACHE = {
    "SQLite": ("SELECT -1024 * cache_size FROM pragma_cache_size", "cache_size"),
    "PostgreSQL": ("SELECT pg_size_bytes(current_setting('shared_buffers'))", "shared_buffers"),
    "MariaDB": ("SELECT @@innodb_buffer_pool_size", "innodb_buffer_pool_size"),
}


def cache(server: str, alias: str) -> str:
    """Return how much of its tables a database keeps in its own memory, as it says."""
    statement, name = CACHE[server]
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        (size,) = cursor.fetchone()
    return f"{name}={size / 1024**2:,.0f} MB"


def bytes_on_disk(place: Place) -> int:
    """Return the size of a database; dead rows have been made ready for reuse."""
    connection = connections[place.alias]
    with connection.cursor() as cursor:
        if place.server == "SQLite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            cursor.fetchall()
            size = Path(place.database["NAME"]).stat().st_size
        elif place.server == "PostgreSQL":
            cursor.execute("VACUUM")
            cursor.execute("SELECT pg_database_size(current_database())")
            (size,) = cursor.fetchone()
        else:
            cursor.execute(
                "SELECT SUM(file_size) FROM information_schema.innodb_sys_tablespaces"
                " WHERE name LIKE %s",
                [f"{place.database['NAME']}/%"],
            )
            size = int(cursor.fetchone()[0])
    connection.close()
    return size
