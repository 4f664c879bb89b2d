"""The SQL of a trigger, on any database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The SQL of one trigger. Run each statement separately, without parameters."""

    name: str
    create: tuple[str, ...]
    """Create the trigger, or replace an existing one."""
    drop: tuple[str, ...]
    """Drop the trigger if it exists."""
    body: str
    """The source in the database's catalogue if the trigger is unaltered."""
