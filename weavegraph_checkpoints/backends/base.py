"""The statements that every database shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal

from django.db import transaction
from django.db.backends.utils import CursorWrapper

from weavegraph_checkpoints import related, telemetry
from weavegraph_checkpoints.backends.access import owner_condition
from weavegraph_checkpoints.backends.batching import batched
from weavegraph_checkpoints.backends.expressions import Expressions
from weavegraph_checkpoints.backends.keyframes import KeyframeRow, KeyframeUse, split_by_need
from weavegraph_checkpoints.backends.rows import (
    COLUMNS,
    LOCKED_SESSION,
    LockedSession,
    SessionRow,
    StepRow,
    Version,
    placeholders,
)
from weavegraph_checkpoints.backends.updates import StateUpdate
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.models import Keyframe, Label, Session, Step

SESSION = Session._meta.db_table
STEP = Step._meta.db_table
KEYFRAME = Keyframe._meta.db_table
LABEL = Label._meta.db_table

INSERT_SESSION = (
    f"INSERT INTO {SESSION} (id, owner, concurrency_limit, created_at, updated_at,"
    " last_step, revision, status, forked_from)"
)
INSERT_STEP = f"INSERT INTO {STEP} ({', '.join(COLUMNS)})"
INSERT_KEYFRAME = f"INSERT INTO {KEYFRAME} ({', '.join(KeyframeRow._fields)})"
NAMED_PLACEHOLDERS = [f"%({column})s" for column in COLUMNS]

NEWEST_STEP_ID = f"(SELECT id FROM {STEP} WHERE session_id = {SESSION}.id AND step = last_step)"


MAX_KEYFRAMES = 500
"""The number of keyframes that a statement copies or deletes."""

Attempt = Literal["saved", "no session", "refused"]
"""What came of a save that was attempted without a transaction."""


class Backend(Expressions):
    """The statements of the service on one connection.

    Every writing transaction locks its session row before it reads or writes anything
    else, and every statement names its session.
    """

    on_session_conflict = "ON CONFLICT (id) DO NOTHING"
    """Suffix of an INSERT of a session; the row count is 1 only if the session is new."""
    on_session_conflict_lock = f"ON CONFLICT (id) DO UPDATE SET revision = {SESSION}.revision"
    """Suffix of an INSERT of a session that locks an existing one and does not change it."""
    on_step_conflict: str
    """Suffix of an INSERT of a step that replaces all columns of an existing one."""
    write_lock: str
    """Suffix of a SELECT that locks sessions to write or delete steps."""
    delete_lock: str
    """Suffix of a SELECT that locks sessions to delete them."""
    steps_by_key = STEP
    """The table of steps in a SELECT by session and step number."""
    all_steps = STEP
    """The table of steps in a SELECT of all of them."""
    join_steps = f"CROSS JOIN {STEP} WHERE session_id = %s AND step = number"
    """A join that looks up each step by its key, after a FROM with the column ``number``."""
    streams_rows = False
    """Whether the driver reads a row only when it is asked for."""
    select_prefix = ""
    """Prefix of a SELECT that finds many rows by an index, in any order."""
    delete_steps = f"DELETE FROM {STEP}"
    """Start of a DELETE of steps by session, or by session and step number."""
    delete_keyframes = f"DELETE FROM {KEYFRAME}"
    """Start of a DELETE of keyframes by session, or by session and id."""
    delete_labels = f"DELETE FROM {LABEL}"
    """Start of a DELETE of labels by session, or by session and key."""
    has_arrays = False
    """Whether a parameter may be an array. Such a database has DELETE … RETURNING too."""
    space_hint: str
    """How to return the space of deleted rows to the disk."""
    has_fair_locks = True
    """Whether transactions get a lock in the order in which they asked for it."""

    def cursor(self) -> CursorWrapper:
        """Return a cursor for statements that carry states or run most often."""
        return self.connection.cursor()

    def fetch_all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query, and return all its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())

    def fetch_one(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> Any:
        """Run a query, and return its first row or ``None``."""
        with self.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()

    # Writes

    def save_into_existing(
        self, row: StepRow, owner: str | None, expected: int | None, *, replace: bool
    ) -> Attempt:
        """Try to save a step into an existing session by one statement, which locks it.

        Raise the errors of ``saving.save``, unless only a transaction can find out.
        """
        return "refused"

    @abstractmethod
    def lock_or_create(
        self, row: StepRow, owner: str | None, expected: int | None, *, is_missing: bool
    ) -> LockedSession | None:
        """Lock the session of a step that is about to be saved; create it if it is missing.

        ``is_missing`` says that it was missing just now. A missing session for which a step
        other than 0 is expected may be left uncreated; return ``None`` then.
        """

    @abstractmethod
    def insert_step(self, row: StepRow, *, replace: bool) -> None:
        """Insert a step into a locked session, or replace it. Raise ``StepExists``."""

    def insert_keyframe(self, row: KeyframeRow) -> bool:
        """Insert a keyframe; return whether none follows its previous one yet, or has its id.

        No unique constraint is named: where PostgreSQL's table is partitioned, they have other
        columns.
        """
        with self.cursor() as cursor:
            cursor.execute(
                f"{INSERT_KEYFRAME} VALUES ({placeholders(row)}) ON CONFLICT DO NOTHING",
                row.parameters(),
            )
            return bool(cursor.rowcount > 0)

    def update_states(self, session_id: str, updates: Sequence[StateUpdate]) -> None:
        """Write the states of steps of a locked session in another form."""
        with self.connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {STEP} SET base_id = %s, state_bytes = %s, state = %s"
                " WHERE session_id = %s AND step = %s",
                [(*values, session_id, step) for step, *values in updates],
            )

    def insert_session(
        self, cursor: CursorWrapper, row: StepRow, owner: str | None, suffix: str
    ) -> None:
        """Insert the session of a step that is about to be saved."""
        cursor.execute(
            f"{INSERT_SESSION}"
            f" VALUES (%s, %s, %s, {self.now}, {self.now}, 0, 0, 'empty', '') {suffix}",
            [row.session_id, owner or "", row.concurrency_limit],
        )

    def lock(self, session_ids: Sequence[str], *, for_delete: bool = False) -> list[SessionRow]:
        """Lock sessions by ascending id, and return those that exist."""
        lock = self.delete_lock if for_delete else self.write_lock
        return self.select_sessions(
            f"id IN ({placeholders(session_ids)}) ORDER BY id {lock}", session_ids
        )

    def delete(self, session_id: str, owner: str | None) -> bool:
        """Delete a session with its steps. Return whether it existed."""
        with transaction.atomic(self.connection.alias):
            locked = self.lock([session_id], for_delete=True)
            if not locked or owner not in (None, locked[0].owner):
                return False
            deletion = related.deletion([session_id], self.connection.alias)
            with deletion, self.connection.cursor() as cursor:
                cursor.execute(f"{self.delete_steps} WHERE session_id = %s", [session_id])
                telemetry.set_rows(cursor.rowcount)
                for delete in (self.delete_keyframes, self.delete_labels):
                    cursor.execute(f"{delete} WHERE session_id = %s", [session_id])
                cursor.execute(f"DELETE FROM {SESSION} WHERE id = %s", [session_id])
        return True

    def claim_labels(self, session_id: str) -> None:
        """Make other changes of the labels of a locked session conflict with this one.

        Nothing needs to be done where the lock of the session excludes them.
        """

    def prepare_deletion(self, session_ids: Sequence[str]) -> None:
        """Prepare locked sessions right before their last steps and rows are deleted."""

    def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """Delete locked sessions whose steps are deleted already, with all that is left of them."""
        ids = placeholders(session_ids)
        with self.connection.cursor() as cursor:
            for delete in (self.delete_keyframes, self.delete_labels):
                cursor.execute(f"{delete} WHERE session_id IN ({ids})", session_ids)
            cursor.execute(f"DELETE FROM {SESSION} WHERE id IN ({ids})", session_ids)

    def delete_unneeded_keyframes(self, session_ids: Sequence[str]) -> None:
        """Delete the keyframes of locked sessions that no step needs."""
        if not session_ids:
            return
        _, unneeded = split_by_need(self.get_keyframe_uses(session_ids, MAX_STEP))
        for session_id, rows in groupby(sorted(unneeded), attrgetter("session_id")):
            # In the order of the ids, and so each before the one that it refers to.
            for batch in batched((row.id for row in rows), MAX_KEYFRAMES):
                with self.connection.cursor() as cursor:
                    cursor.execute(
                        f"{self.delete_keyframes}"
                        f" WHERE session_id = %s AND id IN ({placeholders(batch)})",
                        [session_id, *batch],
                    )

    def get_keyframe_uses(self, session_ids: Sequence[str], at_step: int) -> list[KeyframeUse]:
        """Return the keyframes of sessions, and whether steps up to ``at_step`` use them."""
        same_session = f"{self.without_index(f'{STEP}.session_id')} = {KEYFRAME}.session_id"
        lock = self.get_read_lock()
        rows = self.fetch_all(
            f"SELECT session_id, root_id, id, EXISTS (SELECT 1 FROM {STEP}"
            f" WHERE base_id = {KEYFRAME}.id AND {same_session} AND step <= %s {lock})"
            f" FROM {KEYFRAME} WHERE session_id IN ({placeholders(session_ids)})"
            f" {lock}",
            [at_step, *session_ids],
        )
        return list(map(KeyframeUse._make, rows))

    def copy_keyframes(self, source: str, target: str, ids: Sequence[int], shift: int) -> None:
        """Copy keyframes of a session into another; the ids of the copies differ by ``shift``."""
        self.insert_copies(source, target, ids, shift, f"previous_id + ({shift})")

    def insert_copies(
        self, source: str, target: str, ids: Sequence[int], shift: int, previous_id: str
    ) -> None:
        """Insert copies of keyframes, with an expression for their ``previous_id``."""
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"{INSERT_KEYFRAME} SELECT id + ({shift}), %s, root_id + ({shift}),"
                f" {previous_id}, state FROM {KEYFRAME}"
                f" WHERE session_id = %s AND id IN ({placeholders(ids)})",
                [target, source, *ids],
            )

    # Reads

    def get_session(self, session_id: str, lock: str = "") -> LockedSession | None:
        """Return what decides whether and how a step may be saved into a session."""
        rows = self.fetch_all(
            f"SELECT {LOCKED_SESSION} FROM {SESSION} WHERE id = %s {lock}", [session_id]
        )
        return LockedSession(*rows[0]) if rows else None

    def select_sessions(self, condition: str, parameters: Sequence[Any]) -> list[SessionRow]:
        """Return the sessions that match an SQL condition, which may end in an ORDER BY."""
        rows = self.fetch_all(
            "SELECT id, owner, status, concurrency_limit, created_at, updated_at, last_step"
            f" FROM {SESSION} WHERE {condition}",
            parameters,
        )
        return [SessionRow.from_db(*row) for row in rows]

    def read_keyframes(
        self,
        session_id: str,
        key: int,
        below: int | None = None,
        lock: str = "",
    ) -> list[KeyframeRow]:
        """Return the chain of a keyframe from its root, or from below an id, up to itself."""
        condition, parameters = "", []
        if below is not None:
            condition, parameters = " AND id < %s", [below]
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT id, session_id, root_id, previous_id,"
                f" {self.json_as_text('state')} FROM {KEYFRAME} WHERE session_id = %s"
                f" AND root_id = (SELECT root_id FROM {KEYFRAME}"
                f" WHERE session_id = %s AND id = %s {lock})"
                f" AND id >= %s{condition} ORDER BY id DESC {lock}",
                [session_id, session_id, key, key, *parameters],
            )
            return list(map(KeyframeRow._make, cursor.fetchall()))

    def version(self, session_id: str, owner: str | None) -> Version | None:
        """Return the version of a session's snapshot, without reading the snapshot."""
        condition, parameters = owner_condition(owner)
        row = self.fetch_one(
            f"SELECT created_at, revision, updated_at, {NEWEST_STEP_ID} FROM {SESSION}"
            f" WHERE id = %s AND status <> 'empty'{condition}",
            [session_id, *parameters],
        )
        return None if row is None else Version.from_db(*row)

    def session_ids(self, owner: str | None) -> list[str]:
        """Return the ids of all sessions, most recently updated first, ties by id."""
        condition, parameters = owner_condition(owner)
        rows = self.fetch_all(
            f"SELECT id FROM {SESSION} WHERE 1 = 1{condition} ORDER BY updated_at DESC, id",
            parameters,
        )
        return [session_id for (session_id,) in rows]
