"""Change how stored states are written, without a new save."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from weavegraph_checkpoints.models import Session

if TYPE_CHECKING:
    from weavegraph_checkpoints.backends.base import Backend

_SESSION = Session._meta.db_table


class StateUpdate(NamedTuple):
    """The new values of the state of a step, which remains the same state."""

    step: int
    base_id: int | None
    state_bytes: int
    """The size of the whole state."""
    document: str


@contextmanager
def keep_updated_at(backend: Backend, session_id: str) -> Iterator[None]:
    """Restore ``updated_at`` of a locked session after updates of its steps.

    The trigger sets it on every update, and nothing was saved.
    """
    updated_at = backend.timestamp_as_text("updated_at")
    [(timestamp,)] = backend.fetch_all(
        f"SELECT {updated_at} FROM {_SESSION} WHERE id = %s", [session_id]
    )
    yield
    with backend.connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {_SESSION} SET updated_at = %s WHERE id = %s", [timestamp, session_id]
        )
