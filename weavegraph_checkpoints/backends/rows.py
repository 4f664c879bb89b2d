"""The rows of both tables, and the columns that a save writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from django.db.backends.base.base import BaseDatabaseWrapper

from weavegraph_checkpoints.domain import Checkpoint
from weavegraph_checkpoints.domain.checkpoint import copy_versions_seen
from weavegraph_checkpoints.exceptions import StateTooLarge
from weavegraph_checkpoints.serde import dumps_nodes, dumps_state
from weavegraph_checkpoints.serde.sizes import check_sizes

JSON_COLUMNS = ("frontier", "versions_seen", "ran_nodes", "skipped_nodes", "updated_channels")
"""All JSON columns but the state."""

StepKey = tuple[str, int]
"""A session id and a step number; steps of several sessions are read in this order."""


class LockedSession(NamedTuple):
    """What decides whether and how a step may be saved into a session."""

    owner: str
    last_step: int
    is_empty: bool
    last_base_id: int | None
    """The keyframe that its newest step is stored as changes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The version of a session's latest checkpoint; it changes with every save.

    A session that is deleted and created again has other versions, whatever the clock says:
    databases never reuse the id of a step.
    """

    created_at: datetime
    """When the session was created, in UTC."""
    revision: int
    updated_at: datetime
    """When the session was last updated, in UTC."""
    newest_step_id: int | None
    """The primary key of the newest step."""

    @classmethod
    def from_db(
        cls, created_at: datetime, revision: int, updated_at: datetime, newest_step_id: int | None
    ) -> Version:
        """Return the version that the columns of a session and its newest step contain."""
        return cls(
            created_at=from_db_timestamp(created_at),
            revision=revision,
            updated_at=from_db_timestamp(updated_at),
            newest_step_id=newest_step_id,
        )


class SessionRow(NamedTuple):
    """A stored session without its snapshot; its timestamps are in UTC."""

    session_id: str
    owner: str
    status: str
    concurrency_limit: int
    created_at: datetime
    updated_at: datetime
    last_step: int

    @classmethod
    def from_db(cls, *columns: Any) -> SessionRow:
        """Return the session that the columns of a row contain."""
        row = cls(*columns)
        return row._replace(
            created_at=from_db_timestamp(row.created_at),
            updated_at=from_db_timestamp(row.updated_at),
        )

    @property
    def newest_step(self) -> int | None:
        """The number of its newest step, or ``None`` if it has no steps."""
        return None if self.status == "empty" else self.last_step


class StepRow(NamedTuple):
    """A step as a save writes it: checked and serialized once, before any retries."""

    session_id: str
    step: int
    concurrency_limit: int
    created_at: datetime
    base_id: int | None
    message_count: int
    error_count: int
    state_bytes: int
    frontier: str
    ran_nodes: str
    skipped_nodes: str
    updated_channels: str | None
    versions_seen: str
    state: bytes

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        max_state_bytes: int | None,
        state: bytes | None = None,
        *,
        state_bytes: int | None = None,
        base_id: int | None = None,
        is_stored: bool = False,
    ) -> StepRow:
        """Serialize a checkpoint; ``state`` is its state as JSON, if the caller has it.

        If that is stored as changes to the keyframe ``base_id``, ``state_bytes`` is the size of
        the whole state.

        Raise ``SerializationError``, ``InvalidCheckpoint`` for ``versions_seen`` that were
        mutated into an invalid value, ``StateTooLarge`` for a state of more than
        ``max_state_bytes`` bytes, and ``LimitExceeded`` for another field that is too large,
        unless the checkpoint ``is_stored`` already.
        """
        if state is None:
            state = dumps_state(checkpoint.state, path="$.state")
        if state_bytes is None:
            state_bytes = len(state)
        if max_state_bytes is not None and state_bytes > max_state_bytes:
            raise StateTooLarge(state_bytes, max_state_bytes)
        encode = msgspec.json.encode
        row = cls(
            session_id=checkpoint.session_id,
            step=checkpoint.step,
            concurrency_limit=checkpoint.concurrency_limit,
            created_at=checkpoint.created_at,
            base_id=base_id,
            message_count=len(checkpoint.state.messages.items),
            error_count=len(checkpoint.state.errors.items),
            state_bytes=state_bytes,
            frontier=dumps_nodes(checkpoint.frontier),
            ran_nodes=dumps_nodes(checkpoint.ran_nodes),
            skipped_nodes=dumps_nodes(checkpoint.skipped_nodes),
            updated_channels=encode(checkpoint.updated_channels).decode(),
            versions_seen=encode(copy_versions_seen(checkpoint.versions_seen)).decode(),
            state=state,
        )
        if not is_stored:
            columns = {name: getattr(row, name) for name in JSON_COLUMNS}
            check_sizes(checkpoint, columns, row.state_bytes, max_state_bytes)
        return row

    def parameters(self, connection: BaseDatabaseWrapper) -> tuple[Any, ...]:
        """Return the values of ``COLUMNS`` as parameters for the database."""
        created_at = to_db_timestamp(self.created_at, connection)
        return self.session_id, self.step, created_at, *self[4:-1], self.state.decode()


LOCKED_SESSION = "owner, last_step, status = 'empty', last_base_id"
"""The SQL of the values of a ``LockedSession``."""

COLUMNS = tuple(name for name in StepRow._fields if name != "concurrency_limit")
DATA_COLUMNS = COLUMNS[2:]


def to_db_timestamp(value: datetime, connection: BaseDatabaseWrapper) -> Any:
    """Return a UTC timestamp as a parameter for the database.

    A database without time zones stores UTC, whatever the ``TIME_ZONE`` of its alias, as
    the trigger does.
    """
    if not connection.features.supports_timezones:
        value = value.replace(tzinfo=None)
    return connection.ops.adapt_datetimefield_value(value)


def from_db_timestamp(value: datetime) -> datetime:
    """Return a timestamp that the driver read; a naive one is in UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def placeholders(values: Sequence[object]) -> str:
    """Return a placeholder for each value, for the parentheses of ``IN ()`` or ``VALUES ()``."""
    return ", ".join(["%s"] * len(values))
