"""The option ``--database`` of the app's commands."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections


def add_database_option(parser: CommandParser) -> None:
    """Add ``--database ALIAS``."""
    parser.add_argument(
        "--database",
        default=DEFAULT_DB_ALIAS,
        metavar="ALIAS",
        help='The database to work on; "default" by default.',
    )


def check_database(alias: str) -> None:
    """Raise ``CommandError`` for an alias that the settings do not name."""
    if alias not in connections:
        raise CommandError(
            f"There is no database {alias!r} in DATABASES; there are {', '.join(connections)}."
        )
