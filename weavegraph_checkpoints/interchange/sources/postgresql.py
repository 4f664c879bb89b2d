"""Read a PostgreSQL database of the crate, with the driver of the extra ``postgres``."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from weavegraph_checkpoints.exceptions import InterchangeError, SerializationError
from weavegraph_checkpoints.interchange.crate import (
    MAX_INTEGER,
    MIN_INTEGER,
    CrateStep,
    check_schema,
)
from weavegraph_checkpoints.interchange.sources.base import Row, Source
from weavegraph_checkpoints.serde import loads_json

FETCH_BATCH_SIZE = 16
"""How many steps the driver fetches at a time."""


@contextmanager
def open_postgresql(url: str) -> Iterator[Source]:
    """Connect read-only. Raises ``InterchangeError``."""
    try:
        import psycopg
    except ImportError as error:
        raise InterchangeError(
            "to read from PostgreSQL install 'weavegraph-checkpoints[postgres]'"
        ) from error
    name = _get_name(url, psycopg)
    try:
        connection = psycopg.connect(url, autocommit=True, client_encoding="utf8")
    except psycopg.Error as error:
        raise InterchangeError(f"{name} cannot be opened: {error}") from error
    with connection:
        connection.prepare_threshold = None
        connection.autocommit = False
        connection.read_only = True
        source = PostgreSQLSource(connection, name, psycopg.Error)
        source.check()
        yield source


def _get_name(url: str, psycopg: Any) -> str:
    """Return the host, port and database of a URL, as messages show them.

    Raises ``InterchangeError`` without details if a password that is not percent-encoded may
    be read as another part of the URL, which the messages of libpq would show.
    """
    authority, separator, rest = url.partition("://")[2].partition("@")
    try:
        if (re.search("[/?#]", authority) and separator) or "@" in rest:
            raise ValueError
        parts = psycopg.conninfo.conninfo_to_dict(url)
        ports = [port for port in str(parts.get("port", "")).split(",") if port]
        if not all(0 < int(port) < 65536 for port in ports):
            raise ValueError
    except (ValueError, psycopg.Error):
        raise InterchangeError(
            "the URL cannot be parsed: it is postgresql://user:password@host:port/name, with "
            "special characters in each part percent-encoded (/ as %2F, @ as %40)"
        ) from None
    port = f":{parts['port']}" if ports else ""
    return repr(f"postgresql://{parts.get('host', '')}{port}/{parts.get('dbname', '')}")


class PostgreSQLSource(Source):
    """Reads each page in a transaction of its own."""

    text = "{}::text"
    # Timestamps outside the years of ``datetime`` fail later, with the row that has them.
    timestamp = (
        "CASE WHEN {0} >= '0001-01-01 00:00:00+00' AND {0} < '10000-01-01 00:00:00+00'"
        " THEN to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        " ELSE {0}::text END"
    )
    session_key = 'id COLLATE "C"'
    id_is_text = "true"
    step_is_invalid = "step < 0"

    def __init__(self, connection: Any, name: str, error: type[Exception]) -> None:
        super().__init__(connection, name)
        self.error = error

    def check(self) -> None:
        """Raise ``InterchangeError`` for another schema."""
        check_schema(
            self.name,
            self.fetch_all,
            "SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass(?)",
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?)"
            " AND attnum > 0 AND NOT attisdropped",
        )

    def build_step(self, row: Row) -> CrateStep:
        """See ``Source.build_step``."""
        step = CrateStep(*row)
        return step._replace(state=_restore_floats(step.state))

    def fetch_all(self, sql: str, *parameters: object) -> list[Row]:
        """See ``Source.fetch_all``."""
        with self._transaction(), self.connection.cursor() as cursor:
            return list(cursor.execute(sql.replace("?", "%s"), parameters).fetchall())

    def iter_rows(self, sql: str, *parameters: object) -> Generator[Row, None, None]:
        """See ``Source.iter_rows``."""
        with self._transaction(), self.connection.cursor("weavegraph_import") as cursor:
            cursor.itersize = FETCH_BATCH_SIZE
            yield from cursor.execute(sql.replace("?", "%s"), parameters)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self.connection.transaction():
                # A policy that hides rows is then an error, not an import of fewer sessions.
                self.connection.execute("SET LOCAL row_security = off")
                yield
        except self.error as error:
            raise InterchangeError(f"{self.name} cannot be read: {error}") from error


def _restore_floats(text: str) -> str:
    """Return a ``jsonb`` state with the integers beyond 64 bits as floats.

    ``jsonb`` writes large floats as integers, and the crate saves no such integer.
    """
    try:
        return msgspec.json.encode(_with_floats(loads_json(text))).decode()
    except (SerializationError, RecursionError):
        return text


def _with_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    if type(value) is int and not MIN_INTEGER <= value <= MAX_INTEGER:
        try:
            return float(value)
        except OverflowError:
            return value
    return value
