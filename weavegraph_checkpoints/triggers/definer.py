"""Find out whether the account that a trigger of MariaDB runs as can run it.

MariaDB runs a trigger as its definer: the account that created it, or that a dump names. If
that account is dropped, or loses its privileges, every statement that fires the trigger fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from weavegraph_checkpoints.triggers.definition import Trigger

_NO_SUCH_DEFINER = 1449
_ACCESS_DENIED = 1227
_TABLE_ACCESS_DENIED = 1142
# What the trigger does, but not the statement that fires it.
_ACTIONS_OF_TRIGGER = ("TRIGGER command denied", "UPDATE command denied")


def is_hidden(cursor: CursorWrapper, trigger: Trigger) -> bool:
    """Return whether a trigger exists that the catalogue hides, as from a user with SELECT."""
    try:
        cursor.execute(f"SHOW CREATE TRIGGER `{trigger.name}`")
    except DatabaseError as error:
        return error.args[:1] == (_ACCESS_DENIED,)
    return False


def find_definer_problem(
    connection: BaseDatabaseWrapper, get_model: Callable[[str], Any], definer: str | None
) -> str:
    """Return why a trigger cannot run as its definer; ``""`` if it can, or if that is unknown.

    ``definer`` is ``None`` if the user may not read it.
    """
    if definer is not None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT CURRENT_USER()")
            if cursor.fetchone() == (definer,):
                return ""
        if _is_missing_account(connection, definer):
            return f"runs as {definer}, an account that does not exist"
    return _fire(connection, get_model)


def _is_missing_account(connection: BaseDatabaseWrapper, account: str) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT COUNT(*) FROM mysql.user WHERE CONCAT(user, '@', host) = %s", [account]
            )
            return bool(cursor.fetchone() == (0,))
    except DatabaseError:
        return False


def _fire(connection: BaseDatabaseWrapper, get_model: Callable[[str], Any]) -> str:
    """Fire the trigger in a transaction that is rolled back, and return why it cannot run.

    Ordinary users may not read ``mysql.user``. A new session blocks no other writer.
    """
    session = get_model("Session")(id=f"check-{uuid4()}")
    step = get_model("Step")(
        session=session, step=0, frontier=[], versions_seen={}, state={}, ran_nodes=[]
    )
    try:
        with transaction.atomic(connection.alias):
            for row in (session, step):
                type(row)._base_manager.using(connection.alias).bulk_create([row])
            transaction.set_rollback(True, connection.alias)
    except DatabaseError as error:
        code, text = (*error.args, "", "")[:2]
        if code == _NO_SUCH_DEFINER:
            return f"runs as an account that does not exist ({text})"
        if code == _TABLE_ACCESS_DENIED and text.startswith(_ACTIONS_OF_TRIGGER):
            return f"runs as an account without the necessary privileges ({text})"
    return ""
