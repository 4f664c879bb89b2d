"""Measure what is stored: its size, its growth, and what retention would delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connections, router
from django.db.models import BigIntegerField, CharField, Count, Func, Sum
from django.db.models.functions import Coalesce

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.backends import Backend, get_backend
from weavegraph_checkpoints.domain import timestamps
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DayGrowth:
    """The number of steps created on a day, in UTC, and the bytes of their states."""

    day: date
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEffect:
    """What a policy of the setting ``RETENTION`` alone would delete now."""

    policy: RetentionPolicy
    result: PruneResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What is stored. Bytes are the size of the states of all steps, as UTF-8 JSON."""

    sessions: Mapping[str, int]
    """The number of sessions by status."""
    steps: int
    bytes: int
    mean_bytes: int
    """Bytes per session that has steps; 0 if there is none."""
    largest: tuple[SessionSize, ...]
    """The twenty largest sessions by bytes."""
    growth: tuple[DayGrowth, ...]
    """The last 30 days, ending today."""
    retention: tuple[PolicyEffect, ...]
    """One for each policy of the setting ``RETENTION``."""


def collect(*, using: str | None = None) -> Stats:
    """Measure what is stored, without loading a state.

    Without ``using``, the database router chooses the database to read. Raises
    ``ImproperlyConfigured`` if the setting ``RETENTION`` is malformed.
    """
    policies = conf.retention()
    alias = using or router.db_for_read(Session)
    backend = get_backend(connections[alias])
    statuses = Session.objects.using(alias).order_by().values_list("status")
    sessions = dict.fromkeys(Session.Status.values, 0) | dict(statuses.annotate(count=Count("*")))
    largest, (non_empty, steps, size) = _get_largest(backend)
    return Stats(
        sessions=sessions,
        steps=steps,
        bytes=size,
        mean_bytes=round(size / non_empty) if non_empty else 0,
        largest=largest,
        growth=_get_growth(backend),
        retention=tuple(
            PolicyEffect(policy=policy, result=prune(policy, using=alias, dry_run=True))
            for policy in policies
        ),
    )


def _get_largest(backend: Backend) -> tuple[tuple[SessionSize, ...], tuple[int, int, int]]:
    """Return the largest sessions, and the totals of sessions with steps, steps and bytes.

    In SQL, because one scan finds both, and MariaDB needs a hint for it.
    """
    with backend.connection.cursor() as cursor:
        cursor.execute(
            "SELECT session_id, steps, size, COUNT(*) OVER (), SUM(steps) OVER (),"
            " SUM(size) OVER () FROM (SELECT session_id, COUNT(*) AS steps,"
            f" SUM(COALESCE(state_bytes, {backend.octet_length('state')})) AS size"
            f" FROM {backend.all_steps} GROUP BY session_id) AS sizes"
            " ORDER BY size DESC, session_id LIMIT %s",
            [MAX_LARGEST],
        )
        rows = cursor.fetchall()
    largest = tuple(
        SessionSize(session_id=session_id, steps=steps, bytes=int(size))
        for session_id, steps, size, *_ in rows
    )
    sessions, steps, size = rows[0][-3:] if rows else (0, 0, 0)
    return largest, (sessions, int(steps), int(size))


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
