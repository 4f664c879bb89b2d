"""What a trigger is to this package, whatever the database."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """The SQL of one trigger; each statement runs by itself, without parameters."""

    name: str
    create: tuple[str, ...]
    """Creates the trigger, or replaces it when it is there already."""
    drop: tuple[str, ...]
    """Drops the trigger when it is there."""
    body: str
    """What the database's catalogue must hold for the trigger to be unaltered."""
