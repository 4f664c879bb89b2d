"""The SQL deletes exactly what the model deletes, for random histories and policies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import wrong_snapshots
from tests.pruning.histories import (
    DAY,
    MAX_STEP,
    NOW,
    History,
    Model,
    build_history,
    create_histories,
    get_stored_steps,
)
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Session
from weavegraph_checkpoints.pruning import PruneResult, prune, sql

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("at_noon")]

SESSIONS = ("a", "A", "a ", "á", "日本", "z" * 255)
OWNERS = ("", "me", "ME")
MICROSECOND = timedelta(microseconds=1)


def ages() -> st.SearchStrategy[datetime]:
    """Return instants about the cutoffs of ``policies``, and others."""
    edges = [
        NOW - age + shift for age in (0 * DAY, DAY, 2 * DAY) for shift in (-MICROSECOND, 0 * DAY)
    ]
    return st.sampled_from(edges) | st.integers(-4, 4).map(lambda days: NOW + days * DAY)


def labels() -> st.SearchStrategy[dict[str, str]]:
    """Return labels of few keys and values."""
    return st.dictionaries(st.sampled_from(["env", "Env"]), st.sampled_from(["", "a", "A", "a "]))


def histories() -> st.SearchStrategy[History]:
    """Return histories of every kind."""
    steps = st.integers(0, 8) | st.sampled_from([0, MAX_STEP - 1, MAX_STEP])
    rows = st.tuples(ages(), st.none() | st.integers(0, 50) | st.just(2**40))
    return st.builds(
        History,
        steps=st.dictionaries(steps, rows, max_size=10),
        owner=st.sampled_from(OWNERS),
        finished=st.booleans(),
        updated_at=ages(),
        labels=labels(),
    )


def policies() -> st.SearchStrategy[RetentionPolicy]:
    """Return policies with every rule and every narrowing."""
    durations = st.none() | st.sampled_from([timedelta(0), DAY, 2 * DAY, timedelta.max])
    fields: dict[str, st.SearchStrategy[Any]] = {
        "keep_last": st.none() | st.integers(1, 5) | st.just(MAX_STEP),
        "older_than": durations,
        "delete_inactive": durations,
        "session_ids": st.none() | st.lists(st.sampled_from([*SESSIONS, "none such"])),
        "status": st.none() | st.sampled_from(["empty", "resumable", "finished"]),
        "owner": st.none() | st.sampled_from([*OWNERS, "nobody"]),
        "labels": st.none() | labels(),
    }
    rules = list(fields)[:3]
    return (
        st.fixed_dictionaries(fields)
        .filter(lambda drawn: any(drawn[rule] is not None for rule in rules))
        .map(lambda drawn: RetentionPolicy(**drawn))
    )


session_histories = st.dictionaries(st.sampled_from(SESSIONS), histories(), max_size=4)
examples = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@contextmanager
def created(sessions: dict[str, History]) -> Iterator[Model]:
    """Create histories, yield a model of them, and roll back."""
    with transaction.atomic():
        create_histories(sessions)
        yield Model(deepcopy(sessions))
        transaction.set_rollback(True)


@examples
@given(session_histories, policies(), st.integers(1, 12), st.sampled_from([1, 2, 5, 5000]))
def test_one_policy(
    sessions: dict[str, History], policy: RetentionPolicy, batch_size: int, read_batch_size: int
) -> None:
    with created(sessions) as model, patch.object(sql, "READ_BATCH_SIZE", read_batch_size):
        untouched = Session.objects.in_bulk()
        would = prune(policy, dry_run=True)
        assert get_stored_steps() == model.left()
        did = prune(policy, batch_size=batch_size)
        assert did == would == model.prune(policy)
        assert get_stored_steps() == model.left()
        assert wrong_snapshots() == []
        for session_id, session in Session.objects.in_bulk().items():
            before = untouched[session_id]
            assert (session.revision, session.updated_at) == (before.revision, before.updated_at)
        assert prune(policy) == PruneResult(finished=True)


@examples
@given(session_histories, st.lists(policies(), min_size=2, max_size=4))
def test_several_policies(sessions: dict[str, History], rules: list[RetentionPolicy]) -> None:
    """Each dry run counts one policy alone, which is the most that it deletes after others."""
    with created(sessions) as model:
        would = [prune(policy, dry_run=True) for policy in rules]
        assert would == [Model(deepcopy(sessions)).prune(policy) for policy in rules]
        assert get_stored_steps() == model.left()
        did = [prune(policy) for policy in rules]
        assert did == [model.prune(policy) for policy in rules]
        assert get_stored_steps() == model.left()
        for alone, after_others in zip(would, did, strict=True):
            assert alone.steps >= after_others.steps
            assert alone.sessions >= after_others.sessions
            assert alone.bytes >= after_others.bytes


@examples
@given(session_histories, policies(), st.integers(1, 3), st.integers(1, 3))
def test_runs_that_end_early_add_up(
    sessions: dict[str, History], policy: RetentionPolicy, batch_size: int, max_batches: int
) -> None:
    with created(sessions) as model:
        results = [prune(policy, batch_size=batch_size, max_batches=max_batches)]
        while not results[-1].finished:
            assert results[-1].steps <= batch_size * max_batches
            assert results[-1].steps + results[-1].sessions > 0
            results.append(prune(policy, batch_size=batch_size, max_batches=max_batches))
        whole = model.prune(policy)
        assert sum(result.steps for result in results) == whole.steps
        assert sum(result.sessions for result in results) == whole.sessions
        assert sum(result.bytes for result in results) == whole.bytes
        assert get_stored_steps() == model.left()


def test_the_ten_largest_losses_by_bytes_then_by_steps() -> None:
    sessions = {
        f"s{number:02}": build_history(range(number + 2), size=number // 2) for number in range(14)
    }
    policy = RetentionPolicy(keep_last=1)
    create_histories(sessions)
    would = prune(policy, dry_run=True)
    did = prune(policy, batch_size=7)
    assert did == would == Model(sessions).prune(policy)
    assert [(loss.session_id, loss.bytes, loss.steps) for loss in did.largest][:3] == [
        ("s13", 84, 14),
        ("s12", 78, 13),
        ("s11", 60, 12),
    ]
    assert len(did.largest) == 10


def test_sessions_beyond_a_page_and_ids_that_are_not_there() -> None:
    sessions = {f"s{number:04}": build_history(range(3)) for number in range(250)}
    create_histories(sessions)
    model = Model(sessions)
    named = [*(f"absent-{number:04}" for number in range(450)), "s0007", "s0249"]
    for policy in (
        RetentionPolicy(keep_last=2, session_ids=named),
        RetentionPolicy(keep_last=1, status="resumable"),
        RetentionPolicy(delete_inactive=timedelta(0), owner="nobody"),
    ):
        would = prune(policy, dry_run=True)
        assert prune(policy) == would == model.prune(policy)
        assert get_stored_steps() == model.left()
