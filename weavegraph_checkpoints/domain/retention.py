"""Which steps and sessions a history may lose: the policy, and its rule."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from weavegraph_checkpoints.domain.limits import MAX_STEP, is_owner, is_session_id, safe_repr
from weavegraph_checkpoints.exceptions import InvalidPolicy

STATUSES = ("empty", "resumable", "finished")

_SHORT = re.compile(r"(\d+)([wdhm])", re.ASCII)
_WEEKS = re.compile(r"P\d+W", re.ASCII)
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What may be deleted. Raises ``InvalidPolicy`` without a rule, or for a bad value.

    A step goes when every step rule given (``keep_last``, ``older_than``) names it; the
    newest step of a session never goes by a step rule. A whole session goes by
    ``delete_inactive``. ``session_ids``, ``status`` and ``owner`` narrow both.
    """

    keep_last: int | None = None
    """1 or more: the newest steps of each session that stay."""
    older_than: timedelta | None = None
    """0 or more: the age of a step, by its ``created_at``, from which it goes."""
    delete_inactive: timedelta | None = None
    """0 or more: how long a session was not updated when it goes with its steps."""
    session_ids: tuple[str, ...] | None = None
    status: str | None = None
    """``empty``, ``resumable`` or ``finished``."""
    owner: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            keep_last: int | None = ...,
            older_than: timedelta | None = ...,
            delete_inactive: timedelta | None = ...,
            session_ids: Iterable[str] | None = ...,
            status: str | None = ...,
            owner: str | None = ...,
        ) -> None: ...

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
        self._check_narrowing()

    def _check_narrowing(self) -> None:
        if self.session_ids is not None:
            object.__setattr__(self, "session_ids", _session_ids(self.session_ids))
        if self.status is not None and self.status not in STATUSES:
            raise InvalidPolicy(
                f"expected one of {', '.join(STATUSES)}, not {safe_repr(self.status)}", "status"
            )
        if self.owner is not None and not is_owner(self.owner):
            raise InvalidPolicy(f"not an owner: {safe_repr(self.owner)}", "owner")

    @property
    def has_step_rule(self) -> bool:
        """Whether single steps may go."""
        return self.keep_last is not None or self.older_than is not None

    @property
    def has_session_rule(self) -> bool:
        """Whether whole sessions may go."""
        return self.delete_inactive is not None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> RetentionPolicy:
        """Return the policy that a dict describes, durations as text or ``timedelta``.

        Raises ``InvalidPolicy``, also for a key that is no field.
        """
        known = {field.name for field in fields(cls)}
        values = dict(mapping)
        for key in values:
            if key not in known:
                raise InvalidPolicy(
                    f"unknown key; the keys are {', '.join(sorted(known))}", str(key)
                )
        for key in ("older_than", "delete_inactive"):
            if isinstance(values.get(key), str):
                values[key] = parse_duration(values[key], key)
        return cls(**values)

    def narrows_to(self, session_id: str, owner: str, status: str) -> bool:
        """Say whether the policy concerns a session."""
        return (
            (self.session_ids is None or session_id in self.session_ids)
            and self.owner in (None, owner)
            and self.status in (None, status)
        )

    def is_inactive(self, updated_at: datetime, now: datetime) -> bool:
        """Say whether a session that was last updated then goes as a whole."""
        return self.delete_inactive is not None and updated_at < cutoff(now, self.delete_inactive)

    def doomed_steps(
        self, history: Iterable[tuple[int, datetime]], now: datetime
    ) -> frozenset[int]:
        """Return which steps of one session go by the step rules.

        ``history`` holds the number and ``created_at`` of every step of the session.
        """
        if not self.has_step_rule:
            return frozenset()
        newest_first = sorted(history, reverse=True)
        older = newest_first[self.keep_last or 1 :]
        return frozenset(
            step
            for step, created_at in older
            if self.older_than is None or created_at < cutoff(now, self.older_than)
        )


def cutoff(now: datetime, age: timedelta) -> datetime:
    """Return the instant ``age`` before ``now``; the year 1 for an age beyond it."""
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=now.tzinfo)


def parse_duration(text: str, path: str = "$") -> timedelta:
    """Return ``30d``, ``12h``, ``2w``, ``90m`` or ISO 8601 (``P30DT12H``) as a duration.

    Raises ``InvalidPolicy`` with ``path`` for other text and for what is too long; months
    and years are other text, because they have no length of their own.
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


def _session_ids(session_ids: Iterable[str]) -> tuple[str, ...]:
    if isinstance(session_ids, str):
        raise InvalidPolicy("expected several session ids, not one text", "session_ids")
    try:
        ids = tuple(sorted(set(session_ids)))
    except TypeError:
        raise InvalidPolicy("expected several session ids", "session_ids") from None
    for session_id in ids:
        if not is_session_id(session_id):
            raise InvalidPolicy(f"not a session id: {safe_repr(session_id)}", "session_ids")
    return ids


class Sieve:
    """Tells which of several policies, run in order, takes each step of one session.

    Give it the steps newest first. It holds a few numbers, whatever the history's length.
    """

    def __init__(
        self, policies: Sequence[RetentionPolicy | None], removed_by: int | None = None
    ) -> None:
        """``None`` is a policy that does not concern the session.

        ``removed_by`` is the index of the policy that removes the session as a whole.
        """
        self.removed_by = removed_by
        self._stages = [
            _Stage(index=index, keep=policy.keep_last or 1)
            for index, policy in enumerate(policies[:removed_by])
            if policy is not None and policy.has_step_rule
        ]

    def spares(self, count: int) -> bool:
        """Say whether a session of so many steps loses none, whatever their age."""
        return self.removed_by is None and all(count <= stage.keep for stage in self._stages)

    @property
    def only_taker(self) -> tuple[int, int] | None:
        """The index of the one policy that may take steps, and how many newest ones it keeps.

        ``None`` where several may, or none.
        """
        takers = [(stage.index, stage.keep) for stage in self._stages]
        if self.removed_by is not None:
            takers.append((self.removed_by, 0))
        return takers[0] if len(takers) == 1 else None

    def taken_by(self, is_old: Sequence[object]) -> int | None:
        """Return the index of the policy that takes the next older step, if any does.

        ``is_old`` tells for each policy whether the step is older than its
        ``older_than``; it is true where the policy has none.
        """
        for stage in self._stages:
            if stage.takes(is_old):
                return stage.index
        return self.removed_by


@dataclass(slots=True, kw_only=True)
class _Stage:
    index: int
    keep: int
    reached: int = 0

    def takes(self, is_old: Sequence[object]) -> bool:
        self.reached += 1
        return self.reached > self.keep and bool(is_old[self.index])
