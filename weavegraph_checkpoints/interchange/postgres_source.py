"""A PostgreSQL database of the crate, read with the driver of the extra ``postgres``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange.crate import TABLES
from weavegraph_checkpoints.interchange.rows import SourceHead, SourceStep, from_jsonb
from weavegraph_checkpoints.interchange.sources import (
    FIRST_PAGE,
    ascending,
    check_schema,
    next_page_size,
)

IDS_A_PAGE = 1000

# Times beyond the years of ``datetime`` are shown as they are, and refused by their row.
_TIME = (
    "CASE WHEN {0} >= '0001-01-01 00:00:00+00' AND {0} < '10000-01-01 00:00:00+00'"
    " THEN to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    " ELSE {0}::text END"
)
_STEP = (
    f"step, {_TIME.format('created_at')}, state_json::text, frontier_json::text,"
    " versions_seen_json::text, ran_nodes_json::text, skipped_nodes_json::text,"
    " updated_channels_json::text"
)


@contextmanager
def open_postgres(url: str) -> Iterator[PostgresSource]:
    """Connect for reading alone; no transaction outlives a read."""
    try:
        import psycopg
    except ImportError as error:
        raise InterchangeError(
            "to read from PostgreSQL install 'weavegraph-checkpoints[postgres]'"
        ) from error
    name = _without_password(url)
    try:
        connection = psycopg.connect(url, autocommit=True, client_encoding="utf8")
    except psycopg.Error as error:
        raise InterchangeError(f"{name} cannot be opened: {error}") from error
    with connection:
        connection.prepare_threshold = None
        connection.autocommit = False
        connection.read_only = True
        source = PostgresSource(connection, name, psycopg.Error)
        source.check()
        yield source


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


class PostgresSource:
    """See ``Source``. States come in the crate's own form: see ``from_jsonb``."""

    def __init__(self, connection: Any, name: str, error: type[Exception]) -> None:
        self.connection = connection
        self.name = name
        self.error = error

    def check(self) -> None:
        """Raise ``InterchangeError`` for another schema."""
        columns = {
            table: [
                name
                for (name,) in self._all(
                    "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)"
                    " AND attnum > 0 AND NOT attisdropped",
                    table,
                )
            ]
            for table in TABLES
        }
        check_schema(self.name, columns)

    def extent(self) -> tuple[int, int]:
        """See ``Source.extent``."""
        ((sessions, steps),) = self._all(
            "SELECT (SELECT COUNT(*) FROM sessions), (SELECT COUNT(*) FROM steps)"
        )
        return sessions, steps

    def session_ids(self) -> Iterator[object]:
        """See ``Source.session_ids``."""
        sql = (
            'SELECT id FROM sessions WHERE id COLLATE "C" > %s'
            f' ORDER BY id COLLATE "C" LIMIT {IDS_A_PAGE}'
        )
        # Nothing comes before the empty id.
        yield from (each for (each,) in self._all("SELECT id FROM sessions WHERE id = ''"))
        last = ""
        while page := self._all(sql, last):
            yield from (session_id for (session_id,) in page)
            ascending(last, page[-1][0], self.name)
            last = page[-1][0]

    def orphan_ids(self) -> Iterator[object]:
        """See ``Source.orphan_ids``."""
        rows = self._all(
            "SELECT DISTINCT session_id FROM steps WHERE NOT EXISTS"
            " (SELECT 1 FROM sessions WHERE id = session_id)"
        )
        return (session_id for (session_id,) in rows)

    def head(self, session_id: str) -> SourceHead | None:
        """See ``Source.head``."""
        rows = self._all(
            f"SELECT {_TIME.format('created_at')}, {_TIME.format('updated_at')},"
            " concurrency_limit FROM sessions WHERE id = %s",
            session_id,
        )
        return SourceHead(*rows[0]) if rows else None

    def odd_steps(self, session_id: str) -> list[object]:
        """See ``Source.odd_steps``."""
        rows = self._all("SELECT step FROM steps WHERE session_id = %s AND step < 0", session_id)
        return [step for (step,) in rows]

    def steps(self, session_id: str) -> Iterator[list[SourceStep]]:
        """See ``Source.steps``."""
        newest, limit = 2**63 - 1, FIRST_PAGE
        while newest >= 0 and (page := self._page(session_id, newest, limit)):
            yield page
            newest = page[-1].step - 1
            limit = next_page_size(max(step.size for step in page))

    def _page(self, session_id: str, newest: int, limit: int) -> list[SourceStep]:
        rows = self._all(
            f"SELECT {_STEP} FROM steps WHERE session_id = %s AND step BETWEEN 0 AND %s"
            " ORDER BY step DESC LIMIT %s",
            session_id,
            newest,
            limit,
        )
        return [_in_the_form_of_the_crate(SourceStep(*row)) for row in rows]

    def snapshot(self, session_id: str) -> SourceStep | None:
        """See ``Source.snapshot``."""
        rows = self._all(
            f"SELECT last_step, {_TIME.format('updated_at')}, last_state_json::text,"
            " last_frontier_json::text, last_versions_seen_json::text, '[]', '[]', NULL"
            " FROM sessions WHERE id = %s AND last_state_json IS NOT NULL",
            session_id,
        )
        return _in_the_form_of_the_crate(SourceStep(*rows[0])) if rows else None

    def _all(self, sql: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        try:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return list(cursor.fetchall())
        except self.error as error:
            raise InterchangeError(f"{self.name} cannot be read: {error}") from error


def _in_the_form_of_the_crate(step: SourceStep) -> SourceStep:
    return step._replace(state=from_jsonb(step.state)) if isinstance(step.state, str) else step
