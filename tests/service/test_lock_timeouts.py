"""Nobody waits for ever: a lock time-out of the database passes unchanged, and leaves no trace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from tests.builders import everything_stored, save_history
from tests.service.racing import alias_like
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

IMPATIENT = {
    "sqlite": {"timeout": 0.05},
    "postgresql": {"options": "-c lock_timeout=50ms"},
    "mysql": {"init_command": "SET innodb_lock_wait_timeout=0"},
}
WRITES: dict[str, Callable[[DjangoCheckpointer], Any]] = {
    "save": lambda kept: kept.save(a_checkpoint("session", 9)),
    "checked": lambda kept: kept.save_with_concurrency_check(a_checkpoint("session", 9), 1),
    "delete": lambda kept: kept.delete_session("session"),
    "birth": lambda kept: kept.save(a_checkpoint("born", 1)),
    "fork": lambda kept: kept.fork_session("other", "born"),
}


@pytest.fixture
def impatient(committed: None) -> Iterator[DjangoCheckpointer]:
    """A checkpointer on an alias with a short lock time-out."""
    with alias_like("default", "impatient", OPTIONS=IMPATIENT[connection.vendor]) as alias:
        yield DjangoCheckpointer(alias)


def code_of(error: OperationalError) -> Any:
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return sqlstate or error.args[0]


@pytest.mark.parametrize("name", WRITES)
def test_who_waits_too_long_gets_the_error_of_the_database(
    checkpointer: DjangoCheckpointer,
    impatient: DjangoCheckpointer,
    warnings: list[logging.LogRecord],
    name: str,
) -> None:
    for session_id in ("session", "other"):
        save_history(checkpointer, session_id, [1])
    before = everything_stored()
    with transaction.atomic():
        checkpointer.save(a_checkpoint("session", 2))
        checkpointer.save(a_checkpoint("born", 2))
        with pytest.raises(OperationalError) as caught:
            WRITES[name](impatient)
        transaction.set_rollback(True)
    assert (
        code_of(caught.value)
        == {"sqlite": "database is locked", "postgresql": "55P03", "mysql": 1205}[connection.vendor]
    )
    assert warnings == []
    assert everything_stored() == before
    WRITES[name](impatient)
    assert everything_stored() != before
