"""Measures what is stored: how much, how it grows, and what retention would free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from django.db import connections, router

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.domain import timestamps
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health.stats_sql import StatsStatements
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.pruning import PruneResult, prune

LARGEST = 20
DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSize:
    """The steps of one session, and the bytes of their states."""

    session_id: str
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayGrowth:
    """The steps whose ``created_at`` is on one day, in UTC, and the bytes of their states."""

    day: date
    steps: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEffect:
    """What a policy of the setting ``RETENTION`` would free now, if it ran alone."""

    policy: RetentionPolicy
    result: PruneResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What is stored. Bytes are those of the states of steps, as UTF-8 JSON."""

    sessions: Mapping[str, int]
    """How many sessions there are, by status."""
    steps: int
    bytes: int
    mean_bytes: int
    """Per session that has steps; 0 without one."""
    largest: tuple[SessionSize, ...]
    """The twenty largest sessions, by bytes."""
    growth: tuple[DayGrowth, ...]
    """The last 30 days, today the last."""
    retention: tuple[PolicyEffect, ...]
    """Empty where the setting is."""


def collect(*, using: str | None = None) -> Stats:
    """Measure what is stored, without reading a state.

    Without ``using`` the router says where to read. Raises ``ImproperlyConfigured`` for a
    malformed setting ``RETENTION``.
    """
    policies = conf.retention()
    alias = using or router.db_for_read(Session)
    statements = StatsStatements(get_backend(connections[alias]))
    counts = statements.statuses()
    largest = statements.largest_histories(LARGEST)
    sessions, steps, size = largest[0][-3:] if largest else (0, 0, 0)
    return Stats(
        sessions={status: counts.get(status, 0) for status in Session.Status.values},
        steps=steps,
        bytes=size,
        mean_bytes=round(size / sessions) if sessions else 0,
        largest=tuple(
            SessionSize(session_id=row.session_id, steps=row.steps, bytes=row.bytes)
            for row in largest
        ),
        growth=_growth(statements),
        retention=tuple(
            PolicyEffect(policy=policy, result=prune(policy, using=alias, dry_run=True))
            for policy in policies
        ),
    )


def _growth(statements: StatsStatements) -> tuple[DayGrowth, ...]:
    today = timestamps.now().date()
    days = [today - timedelta(days=age) for age in reversed(range(DAYS))]
    measured = statements.days(days[0], days[-1])
    return tuple(
        DayGrowth(day=day, steps=steps, bytes=size)
        for day in days
        for steps, size in [measured.get(day, (0, 0))]
    )
