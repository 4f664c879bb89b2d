"""Whose sessions may be seen, and which may be saved into: as SQL, and of a locked row."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.backends.rows import COLUMNS, StepRow
from weavegraph_checkpoints.exceptions import ConcurrencyConflict, SessionNotFound


def owner_condition(owner: str | None) -> tuple[str, list[Any]]:
    """Return the SQL that leaves the sessions of an owner, with its parameters."""
    return ("", []) if owner is None else (" AND owner = %s", [owner])


def check_writable(
    found: tuple[str, int, bool] | None, row: StepRow, owner: str | None, expected: int | None
) -> None:
    """Check a locked session before a step is saved into it.

    ``found`` is its owner, its last step and whether it is empty; ``None`` for a session
    that is missing and that ``expected`` forbids to create. Raises ``SessionNotFound``
    and ``ConcurrencyConflict``.
    """
    actual_owner, last_step, is_empty = found or (owner, 0, True)
    if owner not in (None, actual_owner):
        raise SessionNotFound(row.session_id)
    if expected is not None and (last_step != expected or (row.step == expected and not is_empty)):
        raise ConcurrencyConflict(row.session_id, expected, last_step)


def save_condition(
    connection: BaseDatabaseWrapper, row: StepRow, owner: str | None, expected: int | None
) -> tuple[str, dict[str, Any]]:
    """Return the SQL of ``check_writable`` on a row of sessions, and all that a save names.

    By names, because Django finds those without a regular expression on SQLite.
    """
    condition = ""
    parameters = dict(zip(COLUMNS, row.parameters(connection), strict=True))
    if owner is not None:
        condition = " AND owner = %(owner)s"
        parameters["owner"] = owner
    if expected is not None:
        condition += " AND last_step = %(expected)s"
        parameters["expected"] = expected
        if row.step == expected:
            condition += " AND status = 'empty'"
    return condition, parameters
