"""Partition the tables of a PostgreSQL database, as docs/scale-out.md says."""

from __future__ import annotations

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.docs.markdown import page


def is_wanted() -> bool:
    """Whether the settings are those of the tests on partitioned tables."""
    return getattr(settings, "WEAVEGRAPH_TEST_PARTITIONED", False)


def create_partitions(connection: BaseDatabaseWrapper) -> None:
    """Create the partitioned tables beside the others: what is written is copied from now on."""
    execute(connection, _read_blocks()[0])


def copy(connection: BaseDatabaseWrapper) -> None:
    """Copy all sessions."""
    execute(connection, *_read_blocks()[1].splitlines())


def swap(connection: BaseDatabaseWrapper) -> None:
    """Give the partitioned tables the names of the others, which are dropped."""
    execute(connection, _read_blocks()[2])


def partition(connection: BaseDatabaseWrapper) -> None:
    """Partition the tables of steps and keyframes, with what they contain."""
    for step in (create_partitions, copy, swap):
        step(connection)


def execute(connection: BaseDatabaseWrapper, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _read_blocks() -> list[str]:
    return [block.text for block in page("scale-out").blocks if block.language == "sql"]
