"""Measure what is stored: its size, its growth, and what retention would delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connections, router
from django.db.models import BigIntegerField, CharField, Count, Func, Sum
from django.db.models.functions import Coalesce

from weavegraph_checkpoints import conf, telemetry
from weavegraph_checkpoints.backends import Backend, get_backend
from weavegraph_checkpoints.backends.base import KEYFRAME, LABEL, SESSION, STEP
from weavegraph_checkpoints.backends.rows import placeholders
from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.labels import check_label
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.pruning import PruneResult, prune

MAX_LARGEST = 20
GROWTH_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSize:
    """The number of steps of a session, and the bytes of their states."""

    session_id: str
    steps: int
    bytes: int
    stored_bytes: int
    """The bytes that they take as they are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayGrowth:
    """The number of steps created on a day, in UTC, and the bytes of their states."""

    day: date
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSize:
    """What the sessions with one value of a label have: steps, and the bytes of their states."""

    value: str
    sessions: int
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStats:
    """What is stored by the values of a label."""

    key: str
    values: int
    """The number of different values."""
    largest: tuple[LabelSize, ...]
    """The twenty largest values by bytes."""
    sessions_without: int
    """The number of sessions that do not have the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEffect:
    """What a policy of the setting ``RETENTION`` alone would delete now."""

    policy: RetentionPolicy
    result: PruneResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What is stored. Bytes are the size of the states of all steps, as UTF-8 JSON.

    Stored bytes are the size of their rows as they are stored: states that are whole, changes,
    keyframes and snapshots, before the database compresses them.
    """

    sessions: Mapping[str, int]
    """The number of sessions by status."""
    steps: int
    bytes: int
    stored_bytes: int
    mean_bytes: int
    """Bytes per session that has steps; 0 if there is none."""
    largest: tuple[SessionSize, ...]
    """The twenty largest sessions by bytes."""
    growth: tuple[DayGrowth, ...]
    """The last 30 days, ending today."""
    retention: tuple[PolicyEffect, ...]
    """One for each policy of the setting ``RETENTION``."""
    by_label: LabelStats | None = None
    """The values of the label that was asked for."""


@telemetry.traced()
def collect(*, using: str | None = None, by_label: str | None = None) -> Stats:
    """Measure what is stored, without loading a state.

    ``by_label`` is the key of a label by whose values sessions are added up too. Without
    ``using``, the database router chooses the database to read. Raises ``ImproperlyConfigured``
    if the setting ``RETENTION`` is malformed, and ``InvalidLabel`` for an invalid key.
    """
    if by_label is not None:
        check_label(by_label, "", "by_label")
    policies = conf.retention()
    alias = using or router.db_for_read(Session)
    backend = get_backend(connections[alias])
    statuses = Session.objects.using(alias).order_by().values_list("status")
    sessions = dict.fromkeys(Session.Status.values, 0) | dict(statuses.annotate(count=Count("*")))
    largest, (non_empty, steps, size, stored) = _get_largest(backend)
    return Stats(
        sessions=sessions,
        steps=steps,
        bytes=size,
        stored_bytes=stored,
        mean_bytes=round(size / non_empty) if non_empty else 0,
        largest=largest,
        growth=_get_growth(backend),
        retention=tuple(
            PolicyEffect(policy=policy, result=prune(policy, using=alias, dry_run=True))
            for policy in policies
        ),
        by_label=None
        if by_label is None
        else _get_label_stats(backend, by_label, sum(sessions.values())),
    )


def _get_label_stats(backend: Backend, key: str, sessions: int) -> LabelStats:
    size = f"COALESCE(step.state_bytes, {backend.octet_length('step.state')})"
    rows = backend.fetch_all(
        "SELECT label.value, COUNT(*), COALESCE(SUM(own.steps), 0) AS steps,"
        " COALESCE(SUM(own.size), 0) AS size, COUNT(*) OVER (), SUM(COUNT(*)) OVER ()"
        f" FROM {LABEL} AS label LEFT JOIN (SELECT step.session_id, COUNT(*) AS steps,"
        f" SUM({size}) AS size FROM {STEP} AS step GROUP BY step.session_id) AS own"
        " ON own.session_id = label.session_id WHERE label.key = %s"
        " GROUP BY label.value ORDER BY size DESC, label.value LIMIT %s",
        [key, MAX_LARGEST],
    )
    values, labelled = rows[0][4:] if rows else (0, 0)
    return LabelStats(
        key=key,
        values=values,
        largest=tuple(
            LabelSize(value=value, sessions=count, steps=int(steps), bytes=int(bytes_))
            for value, count, steps, bytes_, *_ in rows
        ),
        sessions_without=max(0, sessions - int(labelled)),
    )


def _get_largest(backend: Backend) -> tuple[tuple[SessionSize, ...], tuple[int, int, int, int]]:
    """Return the largest sessions, and totals: sessions with steps, steps, bytes, stored bytes.

    In SQL, because one scan finds both, and MariaDB needs a hint for it.
    """
    rows = backend.fetch_all(
        "SELECT session_id, steps, size, stored, COUNT(*) OVER (), SUM(steps) OVER (),"
        " SUM(size) OVER (), SUM(stored) OVER () FROM (SELECT session_id, COUNT(*) AS steps,"
        f" SUM(COALESCE(state_bytes, {backend.octet_length('state')})) AS size,"
        f" SUM({_stored_size(backend)}) AS stored"
        f" FROM {backend.all_steps} GROUP BY session_id) AS sizes"
        " ORDER BY size DESC, session_id LIMIT %s",
        [MAX_LARGEST],
    )
    total_of_others, others = _get_other_stored_bytes(backend, [row[0] for row in rows])
    largest = tuple(
        SessionSize(
            session_id=session_id,
            steps=steps,
            bytes=int(size),
            stored_bytes=int(stored) + others[session_id],
        )
        for session_id, steps, size, stored, *_ in rows
    )
    sessions, steps, size, stored = rows[0][-4:] if rows else (0, 0, 0, 0)
    return largest, (sessions, int(steps), int(size), int(stored) + total_of_others)


def _get_other_stored_bytes(
    backend: Backend, session_ids: Sequence[str]
) -> tuple[int, dict[str, int]]:
    """Return the bytes of all keyframes and snapshots, and those of some sessions."""
    total = 0
    found = dict.fromkeys(session_ids, 0)
    sizes = (
        (KEYFRAME, "session_id", backend.octet_length("state")),
        (SESSION, "id", _stored_size(backend, "last_")),
    )
    for table, key, size in sizes:
        (stored,) = backend.fetch_one(f"SELECT SUM({size}) FROM {table}", [])
        total += int(stored or 0)
        if session_ids:
            rows = backend.fetch_all(
                f"SELECT {key}, SUM({size}) FROM {table}"
                f" WHERE {key} IN ({placeholders(session_ids)}) GROUP BY {key}",
                session_ids,
            )
            for session_id, stored in rows:
                found[session_id] += int(stored or 0)
    return total, found


def _stored_size(backend: Backend, prefix: str = "") -> str:
    """Return the size of a state as it is stored; it reads only those that are small."""
    size = backend.octet_length(f"{prefix}state")
    return (
        f"CASE WHEN {prefix}base_id IS NULL"
        f" THEN COALESCE({prefix}state_bytes, {size}) ELSE {size} END"
    )


def _get_growth(backend: Backend) -> tuple[DayGrowth, ...]:
    today = timestamps.now().date()
    days = [today - timedelta(days=age) for age in reversed(range(GROWTH_DAYS))]
    start = datetime.combine(days[0], time(), UTC)
    column = "%(expressions)s"
    day = Func("created_at", template=backend.utc_date(column), output_field=CharField())
    size = Func("state", template=backend.octet_length(column), output_field=BigIntegerField())
    rows = (
        Step.objects.using(backend.connection.alias)
        .filter(created_at__gte=start, created_at__lt=start + timedelta(days=GROWTH_DAYS))
        .order_by()
        .annotate(day=day)
        .values_list("day")
        .annotate(
            steps=Count("*"),
            bytes=Sum(Coalesce("state_bytes", size, output_field=BigIntegerField())),
        )
    )
    growth = {str(day): (steps, int(size)) for day, steps, size in rows}
    return tuple(
        DayGrowth(day=day, steps=steps, bytes=size)
        for day in days
        for steps, size in [growth.get(day.isoformat(), (0, 0))]
    )
