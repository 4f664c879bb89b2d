"""What a verification finds, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem of a trigger, a session or a step."""

    problem: str
    """A stable code.

    ``trigger-missing``, ``trigger-altered``, ``trigger-disabled``: snapshots become stale.
    ``trigger-orphaned``: MariaDB cannot run it as the account that it names, and saves fail.
    ``trigger-unverifiable``: the user may not read it; this is a note, not a problem.
    ``snapshot``, ``status``, ``session-counts``: columns of a session differ from its newest
    step. ``missing-counts``, ``wrong-counts``: counts of a step are null or differ from its
    state. ``broken-chain``: a keyframe that its state needs is missing, or of another session.
    ``undecodable``: a step cannot be decoded. ``orphan``: its session is missing.
    """
    detail: str
    session_id: str | None = None
    """``None`` for a trigger."""
    step: int | None = None
    """For a problem of a session, its newest step; ``None`` if it has no steps."""
    repaired: bool = False

    @property
    def is_note(self) -> bool:
        """Whether it says what could not be verified, instead of a problem."""
        return self.problem == "trigger-unverifiable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCount:
    """A number of sessions and steps."""

    sessions: int = 0
    steps: int = 0
