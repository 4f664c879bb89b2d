"""Compare the database's catalogue with the snapshot trigger."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from django.apps import apps as global_apps
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.triggers.definer import find_definer_problem, is_hidden
from weavegraph_checkpoints.triggers.definition import Trigger
from weavegraph_checkpoints.triggers.installation import APP_LABEL, definitions

# Each query returns the source of the trigger (NULL if it is for another event or table),
# whether it is enabled, and on MariaDB its definer: NULL without the privilege TRIGGER, and so is
# then the source.
_CATALOGUES = {
    "mysql": (
        "SELECT CASE WHEN action_timing = 'AFTER' AND trigger_name ="
        " CONCAT(event_object_table, '_snapshot_', LOWER(event_manipulation))"
        " THEN COALESCE(action_statement, '') END, TRUE, definer FROM information_schema.triggers"
        " WHERE trigger_schema = DATABASE() AND trigger_name = %s"
    ),
    # 29: after, for each row, on insert, update and delete. 20: after, for each statement,
    # on insert and update.
    "postgresql": (
        "SELECT CASE WHEN t.tgtype = 29 AND t.tgattr::text = '' AND t.tgqual IS NULL"
        """ AND REPLACE(array_to_string(p.proconfig, ','), '"', '') = 'search_path=pg_catalog'"""
        " AND EXISTS (SELECT 1 FROM pg_trigger s WHERE s.tgrelid = t.tgrelid"
        " AND s.tgname = t.tgname || '_statement' AND s.tgfoid = t.tgfoid AND s.tgtype = 20"
        " AND s.tgenabled IN ('O', 'A') AND s.tgattr::text = '' AND s.tgqual IS NULL)"
        " THEN p.prosrc END, t.tgenabled IN ('O', 'A')"
        " FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
        " JOIN pg_class c ON c.oid = t.tgrelid AND t.tgname = c.relname || '_snapshot'"
        " WHERE pg_table_is_visible(c.oid) AND NOT t.tgisinternal AND t.tgname = %s"
    ),
    "sqlite": "SELECT sql, TRUE FROM sqlite_master WHERE type = 'trigger' AND name = %s",
}


ProblemKind = Literal["missing", "altered", "disabled", "orphaned", "unverifiable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A trigger that does not work as installed, or that cannot be verified."""

    trigger: str
    kind: ProblemKind
    detail: str = ""
    """For ``orphaned``: why the account that it runs as cannot run it."""


def problems(connection: BaseDatabaseWrapper, apps: Any = global_apps) -> list[Problem]:
    """Return the problems of the trigger on a database whose tables exist.

    On MariaDB, if the trigger runs as another account, this may write a session and a step in a
    transaction that is rolled back.
    """
    found = []
    with connection.cursor() as cursor:
        for trigger in definitions(connection, apps):
            cursor.execute(_CATALOGUES[connection.vendor], [trigger.name])
            kind = _find_problem(trigger, row := cursor.fetchone())
            detail = ""
            if kind == "missing" and connection.vendor == "mysql" and is_hidden(cursor, trigger):
                kind = "unverifiable"
            elif kind in (None, "unverifiable") and connection.vendor == "mysql":
                get_model = partial(apps.get_model, APP_LABEL)
                detail = find_definer_problem(connection, get_model, row[2])
                kind = "orphaned" if detail else kind
            if kind is not None:
                found.append(Problem(trigger=trigger.name, kind=kind, detail=detail))
    return found


def _find_problem(trigger: Trigger, row: tuple[Any, ...] | None) -> ProblemKind | None:
    if row is None:
        return "missing"
    text, enabled, *definer = row
    if definer == [None] and text is not None:
        return "unverifiable"
    if text is None or text.split() != trigger.body.split():
        return "altered"
    return None if enabled else "disabled"
