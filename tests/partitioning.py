"""Partition the tables of a PostgreSQL database, as docs/scale-out.md says."""

from __future__ import annotations

from django.conf import settings
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.docs.markdown import page

PHASES = ("create", "lock", "copy", "compare", "copy again", "swap", "give up")
"""The blocks of SQL of the page, in their order."""
MAX_ATTEMPTS = 60
"""How often a block is run that fails because of its lock timeout."""


def is_wanted() -> bool:
    """Whether the settings are those of the tests on partitioned tables."""
    return getattr(settings, "WEAVEGRAPH_TEST_PARTITIONED", False)


def partition(connection: BaseDatabaseWrapper) -> None:
    """Partition the tables of steps and keyframes, with what they contain."""
    run(connection, *PHASES[:-1])


def run(connection: BaseDatabaseWrapper, *phases: str) -> None:
    """Run blocks of the page; like a person, run one again that could not get its locks."""
    blocks = [block.text for block in page("scale-out").blocks if block.language == "sql"]
    texts = dict(zip(PHASES, blocks, strict=True))
    for phase in phases:
        # CALL and VACUUM are not allowed in a transaction.
        is_script = phase in ("copy", "copy again")
        for statement in texts[phase].splitlines() if is_script else [texts[phase]]:
            _execute(connection, statement)


def _execute(connection: BaseDatabaseWrapper, statement: str) -> None:
    for attempt in range(MAX_ATTEMPTS):
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement)
            except OperationalError as error:
                cursor.execute("ROLLBACK")
                if "lock timeout" not in str(error) or attempt == MAX_ATTEMPTS - 1:
                    raise
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            else:
                return
