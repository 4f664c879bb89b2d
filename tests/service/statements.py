"""What a call asks of a database, without the commands that begin and end a transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.test.utils import CaptureQueriesContext

_COMMAND = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET TRANSACTION)\b")


@dataclass
class Captured:
    """The statements and the transaction commands of a block, filled when it ends."""

    statements: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.statements)


@contextmanager
def captured(using: str = "default") -> Iterator[Captured]:
    """Capture what a block sends to a database.

    With Django 5.2 the query log of PostgreSQL has no text for a prepared statement: that text is
    taken from where Django executes it, with ``%s`` for its parameters.
    """
    found = Captured()
    connection = connections[using]
    connection.ensure_connection()
    executed: dict[int, str] = {}

    def record(execute: Any, sql: str, *args: Any) -> Any:
        executed[len(connection.queries_log)] = sql
        return execute(sql, *args)

    with CaptureQueriesContext(connection) as context, connection.execute_wrapper(record):
        yield found
    for index, query in enumerate(context.captured_queries, context.initial_queries):
        sql = query["sql"] or executed[index]
        kind = found.commands if _COMMAND.match(sql) else found.statements
        kind.append(sql)
