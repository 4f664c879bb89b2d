"""Writes steps in every way there is, and derives in plain Python what must come of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.models import Keyframe, Label, Session, Step

SESSION = Session._meta.db_table
STEP = Step._meta.db_table
KEYFRAME = Keyframe._meta.db_table
LABEL = Label._meta.db_table
MAX_STEP = 2**63 - 1
LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)

COPIED = (
    "message_count",
    "error_count",
    "state_bytes",
    "base_id",
    "frontier",
    "versions_seen",
    "state",
)
SNAPSHOT = ("last_step", "status", *(f"last_{name}" for name in COPIED))
COLUMNS = (
    "session_id",
    "step",
    "created_at",
    "message_count",
    "error_count",
    "state_bytes",
    "frontier",
    "ran_nodes",
    "skipped_nodes",
    "versions_seen",
    "state",
)
_JSON = {"frontier", "ran_nodes", "skipped_nodes", "versions_seen", "state"}

Row = Mapping[str, Any]


def content(tag: int, frontier: list[str] | None = None) -> dict[str, Any]:
    """Return what a step holds, a different thing for each tag."""
    return {
        "message_count": tag,
        "error_count": None if tag % 3 == 0 else tag % 5,
        "state_bytes": None if tag % 4 == 0 else 1000 + tag,
        "base_id": None,
        "frontier": [f"Custom:node {tag}"] if frontier is None else frontier,
        "versions_seen": {f"node {tag}": {"messages": 2**64 - 1 - tag}},
        "state": {"tag": tag, "exact": [1e23, -0.0, "\0", 2**64 - 1]},
    }


def derived(steps: Mapping[int, Row]) -> dict[str, Any]:
    """Return the snapshot of a session with these steps."""
    if not steps:
        nothing = {f"last_{name}": None for name in COPIED}
        return {"last_step": 0, "status": "empty", **nothing}
    newest = max(steps)
    row = steps[newest]
    finished = all(node == "End" for node in row["frontier"])
    return {
        "last_step": newest,
        "status": "finished" if finished else "resumable",
        **{f"last_{name}": row[name] for name in COPIED},
    }


def snapshot(session_id: str, using: str = "default") -> dict[str, Any]:
    """Return the stored snapshot of a session."""
    return Session.objects.using(using).values(*SNAPSHOT).get(pk=session_id)


def assert_snapshots_right(using: str = "default") -> None:
    """Fail unless the snapshot of each session is what its stored steps say."""
    steps: dict[str, dict[int, Row]] = {}
    for row in Step.objects.using(using).values("session_id", "step", *COPIED):
        steps.setdefault(row["session_id"], {})[row["step"]] = row
    for session_id in Session.objects.using(using).values_list("pk", flat=True):
        stored = snapshot(session_id, using)
        assert repr(stored) == repr(derived(steps.get(session_id, {}))), session_id


def create_session(session_id: str, using: str = "default") -> Session:
    """Create an empty session that was last updated long ago."""
    return Session.objects.using(using).create(pk=session_id, updated_at=LONG_AGO)


def create_step(session_id: str, step: int, tag: int = 0, using: str = "default") -> Step:
    """Create one step by the ORM."""
    return Step.objects.using(using).create(session_id=session_id, step=step, **content(tag))


def write_sql(rows: Iterable[Row], suffix: str = "", using: str = "default") -> None:
    """Insert rows of steps in one plain statement, which ends with ``suffix``."""
    defaults = {"created_at": "2026-01-02 03:04:05", "ran_nodes": [], "skipped_nodes": []}
    values = [[_stored(name, {**defaults, **row}[name]) for name in COLUMNS] for row in rows]
    places = ", ".join(["(" + ", ".join(["%s"] * len(COLUMNS)) + ")"] * len(values))
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {STEP} ({', '.join(COLUMNS)}) VALUES {places} {suffix}",
            [value for row in values for value in row],
        )


def _stored(name: str, value: Any) -> Any:
    return json.dumps(value) if name in _JSON else value


def upsert_suffix(connection: BaseDatabaseWrapper) -> str:
    """Return what makes an INSERT of steps replace those that are there."""
    names = [name for name in COLUMNS if name not in ("session_id", "step")]
    if connection.vendor == "mysql":
        return "ON DUPLICATE KEY UPDATE " + ", ".join(f"{n} = VALUES({n})" for n in names)
    sets = ", ".join(f"{n} = EXCLUDED.{n}" for n in names)
    return f"ON CONFLICT (session_id, step) DO UPDATE SET {sets}"


def forget_updates(using: str = "default") -> None:
    """Set ``updated_at`` of every session back, so that one sees what moves it."""
    Session.objects.using(using).update(updated_at=LONG_AGO)


def moved(session_id: str, using: str = "default") -> bool:
    """Say whether ``updated_at`` is now, in UTC; fail when it is neither now nor long ago."""
    updated_at = (
        Session.objects.using(using).values_list("updated_at", flat=True).get(pk=session_id)
    )
    if updated_at == LONG_AGO:
        return False
    assert abs(datetime.now(UTC) - updated_at) < timedelta(seconds=30)
    return True


def revision(session_id: str, using: str = "default") -> int:
    """Return the revision of a session."""
    return Session.objects.using(using).values_list("revision", flat=True).get(pk=session_id)


def case_of(field: str, values: Mapping[tuple[str, int], Any]) -> models.Case:
    """Return an expression that gives each (session, step) its own value of a field."""
    return models.Case(
        *(
            models.When(session_id=session_id, step=step, then=models.Value(value))
            for (session_id, step), value in values.items()
        ),
        default=models.F(field),
        output_field=Step._meta.get_field(field),
    )
