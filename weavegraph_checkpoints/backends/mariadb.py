"""MariaDB: InnoDB's gap locks decide how a session may be locked without deadlocks."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.backends.base import (
    INSERT_KEYFRAME,
    INSERT_STEP,
    KEYFRAME,
    LABEL,
    SESSION,
    STEP,
    Backend,
)
from weavegraph_checkpoints.backends.keyframes import KeyframeRow
from weavegraph_checkpoints.backends.rows import (
    COLUMNS,
    DATA_COLUMNS,
    LOCKED_SESSION,
    LockedSession,
    StepRow,
    placeholders,
)
from weavegraph_checkpoints.exceptions import StepExists

_REPLACE = "ON DUPLICATE KEY UPDATE " + ", ".join(
    f"{column} = VALUES({column})" for column in DATA_COLUMNS
)
_INSERT = f"{INSERT_STEP} VALUES ({placeholders(COLUMNS)})"

READ_COMMITTED = "read committed"
DUPLICATE_KEY = 1062

_CLAIM = ""
"""A key that no label has."""

_cluster_nodes: WeakKeyDictionary[BaseDatabaseWrapper, bool] = WeakKeyDictionary()
"""Whether each connection is to a node of a Galera cluster."""


class MariaDBBackend(Backend):
    """A statement that writes steps never names the session table (error 1442)."""

    now = "UTC_TIMESTAMP(6)"
    write_lock = delete_lock = "FOR UPDATE"
    on_step_conflict = _REPLACE
    on_session_conflict = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision + 1"
    on_session_conflict_lock = f"ON DUPLICATE KEY UPDATE revision = {SESSION}.revision"
    # Without the hint MariaDB may scan all steps: of a session that is most of a large table,
    # and of small tables, where it then locks, or waits for, rows of other sessions. Only
    # this form of DELETE takes an index hint. sql_safe_updates refuses it, whatever its condition.
    steps_by_key = f"{STEP} FORCE INDEX (weavegraph_step_unique)"
    delete_steps = f"SET STATEMENT sql_safe_updates = 0 FOR DELETE {STEP} FROM {steps_by_key}"
    delete_keyframes = (
        f"SET STATEMENT sql_safe_updates = 0 FOR DELETE {KEYFRAME} FROM {KEYFRAME}"
        " FORCE INDEX (weavegraph_keyframe_unique)"
    )
    delete_labels = (
        f"SET STATEMENT sql_safe_updates = 0 FOR DELETE {LABEL} FROM {LABEL}"
        " FORCE INDEX (weavegraph_label_unique)"
    )
    labels_as_json = "JSON_OBJECTAGG(label.key, label.value)"
    join_steps = f"STRAIGHT_JOIN {steps_by_key} WHERE session_id = %s AND step = number"
    # Following the index would fetch each row separately, which takes twice the time.
    all_steps = f"{STEP} IGNORE INDEX (weavegraph_step_unique)"
    # Multi-range reads fetch rows in the order of the table, in two thirds of the time.
    select_prefix = "SET STATEMENT optimizer_switch = 'mrr=on' FOR "
    has_row_values = False
    space_hint = (
        "MariaDB reuses the freed space inside its tables for new rows. OPTIMIZE TABLE returns "
        "it to the disk, and needs free space for a copy."
    )

    def timestamp_as_text(self, column: str) -> str:
        """See ``Backend.timestamp_as_text``."""
        return f"CAST({column} AS CHAR)"

    def is_distinct(self, left: str, right: str) -> str:
        """See ``Backend.is_distinct``."""
        return f"NOT ({left} <=> {right})"

    def get_read_lock(self) -> str:
        """See ``Backend.get_read_lock``.

        Under REPEATABLE READ only a locking read sees what others committed since the first read
        of the transaction.
        """
        return "" if self._is_read_committed() else "LOCK IN SHARE MODE"

    def _is_read_committed(self) -> bool:
        return self.connection.isolation_level == READ_COMMITTED  # type: ignore[attr-defined, no-any-return]

    def read_keyframes(
        self,
        session_id: str,
        key: int,
        below: int | None = None,
        lock: str = "",
    ) -> list[KeyframeRow]:
        """See ``Backend.read_keyframes``.

        A row that was locked, or saved into, may name a keyframe that the snapshot of the
        transaction does not have.
        """
        rows = super().read_keyframes(session_id, key, below)
        lock = self.get_read_lock()
        return super().read_keyframes(session_id, key, below, lock) if lock and not rows else rows

    def lock_or_create(
        self, row: StepRow, owner: str | None, expected: int | None, *, is_missing: bool
    ) -> LockedSession | None:
        """See ``Backend.lock_or_create``.

        Transactions that wait in an upsert for a row that is then deleted each keep the gap
        that the others insert into. A locking read keeps no gap under READ COMMITTED; under
        stricter isolation levels it keeps one whenever it finds nothing.
        """
        if expected:
            # Rolling back a created row could deadlock, so a missing session is not created.
            return self.get_session(row.session_id, self.write_lock)
        if self._is_read_committed():
            found = self.get_session(row.session_id, self.write_lock)
            if found is not None:
                return found
        suffix = f"{self.on_session_conflict_lock} RETURNING {LOCKED_SESSION}"
        with self.connection.cursor() as cursor:
            self.insert_session(cursor, row, owner, suffix)
            return LockedSession(*cursor.fetchone())

    def insert_step(self, row: StepRow, *, replace: bool) -> None:
        """See ``Backend.insert_step``.

        Without ``replace``, the error for a duplicate key is caught: an upsert that changes
        nothing would still run the trigger, and ``INSERT IGNORE`` would hide other errors.
        """
        statement = f"{_INSERT} {_REPLACE}" if replace else _INSERT
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, row.parameters(self.connection))
        except IntegrityError as error:
            if replace or error.args[0] != DUPLICATE_KEY:
                raise
            raise StepExists(row.session_id, row.step) from None

    def insert_keyframe(self, row: KeyframeRow) -> bool:
        """See ``Backend.insert_keyframe``."""
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(f"{INSERT_KEYFRAME} VALUES ({placeholders(row)})", row.parameters())
        except IntegrityError as error:
            if error.args[0] != DUPLICATE_KEY:
                raise
            return False
        return True

    def copy_keyframes(self, source: str, target: str, ids: Sequence[int], shift: int) -> None:
        """See ``Backend.copy_keyframes``.

        Foreign keys are checked row by row, and INSERT … SELECT from the same table ignores
        the order of rows with long texts. So ``previous_id`` is set when all rows are there.
        """
        self.insert_copies(source, target, ids, shift, "NULL")
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {KEYFRAME} AS origin FORCE INDEX (PRIMARY)"
                f" STRAIGHT_JOIN {KEYFRAME} AS copy FORCE INDEX (PRIMARY)"
                f" ON copy.id = origin.id + ({shift})"
                f" SET copy.previous_id = origin.previous_id + ({shift})"
                " WHERE origin.session_id = %s AND copy.session_id = %s"
                f" AND origin.id IN ({placeholders(ids)})",
                [source, target, *ids],
            )

    def claim_labels(self, session_id: str) -> None:
        """See ``Backend.claim_labels``.

        Nodes of a Galera cluster do not see each other's locks. Transactions conflict only if
        they write the same key, which changes of different labels do not.
        """
        if not self._is_cluster_node():
            return
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {LABEL} (session_id, `key`, value) VALUES (%s, %s, '')",
                [session_id, _CLAIM],
            )
            cursor.execute(
                f"{self.delete_labels} WHERE session_id = %s AND `key` = %s", [session_id, _CLAIM]
            )

    def _is_cluster_node(self) -> bool:
        """Return whether the server replicates by Galera; one query for each connection."""
        if self.connection not in _cluster_nodes:
            rows = self.fetch_all("SHOW SESSION VARIABLES LIKE 'wsrep_on'")
            _cluster_nodes[self.connection] = [value for _, value in rows] == ["ON"]
        return _cluster_nodes[self.connection]

    def prepare_deletion(self, session_ids: Sequence[str]) -> None:
        """See ``Backend.prepare_deletion``.

        If a session loses its last step, the trigger looks for the step before it; if there is
        none, that read locks, or waits for, the last step of another session. No step is
        above ``last_step``, so raising it prevents the read.
        """
        self._execute_for_each(
            f"UPDATE {SESSION} SET last_step = last_step + 1 WHERE id = %s", session_ids
        )

    def delete_sessions(self, session_ids: Sequence[str]) -> None:
        """See ``Backend.delete_sessions``; one by one, which never reads another row."""
        for delete in (self.delete_keyframes, self.delete_labels):
            self._execute_for_each(f"{delete} WHERE session_id = %s", session_ids)
        self._execute_for_each(f"DELETE FROM {SESSION} WHERE id = %s", session_ids)

    def _execute_for_each(self, statement: str, session_ids: Sequence[str]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(statement, [[session_id] for session_id in session_ids])
