"""The option ``--database`` of the app's commands."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from weavegraph_checkpoints.models import Session, Step


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


def check_tables(alias: str) -> None:
    """Raise ``CommandError`` where the app's migrations are not applied."""
    tables = connections[alias].introspection.table_names()
    if not {Session._meta.db_table, Step._meta.db_table}.issubset(tables):
        raise CommandError(
            f"The database {alias!r} does not have the tables of weavegraph_checkpoints: "
            f"run manage.py migrate weavegraph_checkpoints --database {alias}."
        )
