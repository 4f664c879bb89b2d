"""What a call asks of a database, without the commands that begin and end a transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
    """Capture what a block sends to a database."""
    found = Captured()
    connections[using].ensure_connection()
    with CaptureQueriesContext(connections[using]) as context:
        yield found
    for query in context.captured_queries:
        kind = found.commands if _COMMAND.match(query["sql"]) else found.statements
        kind.append(query["sql"])
