"""Retention policies: which steps and sessions may be deleted."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

import msgspec

from weavegraph_checkpoints.domain.labels import copy_labels
from weavegraph_checkpoints.domain.limits import MAX_STEP, is_owner, is_session_id, safe_repr
from weavegraph_checkpoints.exceptions import InvalidLabel, InvalidPolicy

STATUSES = ("empty", "resumable", "finished")

_SHORT = re.compile(r"(\d+)([wdhm])", re.ASCII)
_WEEKS = re.compile(r"P\d+W", re.ASCII)
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """Rules for deleting steps and sessions.

    ``keep_last`` and ``older_than`` delete single steps: if both are set, a step is deleted
    only when both match. They never delete the newest step of a session. ``delete_inactive``
    deletes whole sessions. ``session_ids``, ``status``, ``owner`` and ``labels`` limit the
    policy to some sessions. Raises ``InvalidPolicy`` without a rule, or for an invalid value.
    """

    keep_last: int | None = None
    """Keep the newest N steps of each session; 1 or more."""
    older_than: timedelta | None = None
    """Delete steps whose ``created_at`` is longer ago; 0 or more."""
    delete_inactive: timedelta | None = None
    """Delete sessions whose ``updated_at`` is longer ago; 0 or more."""
    session_ids: Collection[str] | None = None
    status: str | None = None
    """``empty``, ``resumable`` or ``finished``."""
    owner: str | None = None
    labels: Mapping[str, str] | None = field(default=None, hash=False)
    """Only sessions that have all of these labels; ``None`` and ``{}`` mean all sessions."""

    def __post_init__(self) -> None:
        if not (self.has_step_rule or self.has_session_rule):
            raise InvalidPolicy("a policy needs a rule: keep_last, older_than or delete_inactive")
        if self.keep_last is not None and not (
            type(self.keep_last) is int and 1 <= self.keep_last <= MAX_STEP
        ):
            raise InvalidPolicy(
                f"expected a number of steps of 1 or more, not {safe_repr(self.keep_last)}",
                "keep_last",
            )
        _check_duration(self.older_than, "older_than")
        _check_duration(self.delete_inactive, "delete_inactive")
        if self.session_ids is not None:
            object.__setattr__(self, "session_ids", _normalize_session_ids(self.session_ids))
        if self.status is not None and self.status not in STATUSES:
            raise InvalidPolicy(
                f"expected one of {', '.join(STATUSES)}, not {safe_repr(self.status)}", "status"
            )
        if self.owner is not None and not is_owner(self.owner):
            raise InvalidPolicy(f"not an owner: {safe_repr(self.owner)}", "owner")
        if self.labels is not None:
            object.__setattr__(self, "labels", _normalize_labels(self.labels))

    @property
    def has_step_rule(self) -> bool:
        """Whether the policy deletes single steps."""
        return self.keep_last is not None or self.older_than is not None

    @property
    def has_session_rule(self) -> bool:
        """Whether the policy deletes whole sessions."""
        return self.delete_inactive is not None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RetentionPolicy:
        """Return the policy with the fields of a dict; durations may be text or ``timedelta``.

        Raises ``InvalidPolicy``, also for an unknown key.
        """
        known = sorted(each.name for each in fields(cls))
        values = dict(mapping)
        for key in values:
            if key not in known:
                raise InvalidPolicy(f"unknown key; the keys are {', '.join(known)}", str(key))
        for key in ("older_than", "delete_inactive"):
            if isinstance(values.get(key), str):
                values[key] = parse_duration(values[key], key)
        return cls(**values)

    def applies_to(self, session_id: str, owner: str, status: str) -> bool:
        """Return whether the policy is not limited to other sessions, labels aside."""
        return (
            (self.session_ids is None or session_id in self.session_ids)
            and self.owner in (None, owner)
            and self.status in (None, status)
        )

    def is_inactive(self, updated_at: datetime, now: datetime) -> bool:
        """Return whether ``delete_inactive`` deletes a session last updated at ``updated_at``."""
        return self.delete_inactive is not None and updated_at < get_cutoff(
            now, self.delete_inactive
        )


def get_cutoff(now: datetime, age: timedelta) -> datetime:
    """Return ``now - age``, or the earliest ``datetime`` if that is out of range."""
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=now.tzinfo)


def parse_duration(text: str, path: str = "$") -> timedelta:
    """Parse ``30d``, ``12h``, ``2w``, ``90m`` or ISO 8601 (``P30DT12H``).

    Raises ``InvalidPolicy`` with ``path`` for any other text, months and years included
    (their length varies), and for a duration that ``timedelta`` cannot hold.
    """
    short = _SHORT.fullmatch(text[1:].lower() if _WEEKS.fullmatch(text) else text)
    try:
        if short is not None:
            return timedelta(**{_UNITS[short.group(2)]: int(short.group(1))})
        if text.startswith("P"):
            return msgspec.convert(text, timedelta)
    except (OverflowError, ValueError, msgspec.ValidationError):
        pass
    raise InvalidPolicy(
        f"not a duration: {safe_repr(text)}; write 30d, 12h, 2w, 90m or ISO 8601", path
    )


def _check_duration(value: object, name: str) -> None:
    if value is not None and not (isinstance(value, timedelta) and value >= timedelta(0)):
        raise InvalidPolicy(f"expected a timedelta of 0 or more, not {safe_repr(value)}", name)


def _normalize_session_ids(session_ids: Collection[str]) -> tuple[str, ...]:
    """Return the ids sorted and without duplicates."""
    if isinstance(session_ids, str):
        raise InvalidPolicy("expected a list of session ids, not one string", "session_ids")
    try:
        ids = tuple(sorted(set(session_ids)))
    except TypeError:
        raise InvalidPolicy("expected a list of session ids", "session_ids") from None
    for session_id in ids:
        if not is_session_id(session_id):
            raise InvalidPolicy(f"not a session id: {safe_repr(session_id)}", "session_ids")
    return ids


def _normalize_labels(labels: Mapping[str, str]) -> dict[str, str] | None:
    """Return the labels sorted by key, or ``None`` if there are none."""
    try:
        return copy_labels(labels) or None
    except InvalidLabel as error:
        raise InvalidPolicy(error.message, error.path) from None
