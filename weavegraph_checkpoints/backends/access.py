"""Which sessions and steps a call reads, and which sessions a step may be saved into."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.backends.rows import COLUMNS, LockedSession, StepRow
from weavegraph_checkpoints.domain import StepQuery
from weavegraph_checkpoints.domain.limits import MAX_STEP, check_integer
from weavegraph_checkpoints.exceptions import (
    ConcurrencyConflict,
    InvalidCheckpoint,
    SessionNotFound,
)
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.querysets import contains_node


def owner_condition(owner: str | None) -> tuple[str, list[Any]]:
    """Return the SQL condition on the owner of a session, and its parameters."""
    return ("", []) if owner is None else (" AND owner = %s", [owner])


def steps_condition(session_id: str, owner: str | None) -> tuple[str, list[Any]]:
    """Return the SQL condition on the steps of a session of an owner, and its parameters."""
    if owner is None:
        return "session_id = %s", [session_id]
    has_owner = f"EXISTS (SELECT 1 FROM {Session._meta.db_table} WHERE id = %s AND owner = %s)"
    return f"session_id = %s AND {has_owner}", [session_id, session_id, owner]


def query_condition(
    vendor: str, session_id: str, query: StepQuery, owner: str | None
) -> tuple[str, list[Any]]:
    """Return the SQL condition on the steps that match a query, and its parameters."""
    condition, parameters = steps_condition(session_id, owner)
    for operator, bound in ((">=", query.min_step), ("<=", query.max_step)):
        if bound is not None:
            condition += f" AND step {operator} %s"
            parameters.append(bound)
    for column, node in (("ran_nodes", query.ran_node), ("skipped_nodes", query.skipped_node)):
        if node is not None:
            contains, node_parameters = contains_node(vendor, column, node)
            condition += f" AND {contains}"
            parameters += node_parameters
    return condition, parameters


def check_follows(step: int, expected_last_step: int) -> None:
    """Raise ``InvalidCheckpoint`` if a step cannot come after the expected one."""
    check_integer(expected_last_step, "expected_last_step", MAX_STEP)
    if step <= expected_last_step and (step, expected_last_step) != (0, 0):
        raise InvalidCheckpoint(
            f"step {step} cannot come after step {expected_last_step}", "$.step"
        )


def check_writable(
    found: LockedSession | None, row: StepRow, owner: str | None, expected: int | None
) -> None:
    """Check that a step may be saved into a locked session.

    ``found`` is ``None`` for a session that does not exist and that must not be created
    because a last step other than 0 is expected. Raise ``SessionNotFound`` or
    ``ConcurrencyConflict``.
    """
    found = found or LockedSession(owner or "", 0, True, None)
    if owner not in (None, found.owner):
        raise SessionNotFound(row.session_id)
    last_step = found.last_step
    if expected is not None and (
        last_step != expected or (row.step == expected and not found.is_empty)
    ):
        raise ConcurrencyConflict(row.session_id, expected, last_step)


def save_condition(
    connection: BaseDatabaseWrapper, row: StepRow, owner: str | None, expected: int | None
) -> tuple[str, dict[str, Any]]:
    """Return the SQL condition that equals ``check_writable``, and the parameters of a save.

    A step with a base is saved only while that is the base of the newest step. The parameters
    are named because Django converts named placeholders for SQLite without a regular expression.
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
    if row.base_id is not None:
        condition += " AND last_base_id = %(base_id)s"
    return condition, parameters
