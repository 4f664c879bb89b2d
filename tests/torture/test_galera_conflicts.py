"""Three nodes of MariaDB Galera: what a call observes that conflicts with another node."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import Error, OperationalError, connections, transaction

from tests.builders import save_history
from tests.docs.code_blocks import run_block
from tests.docs.markdown import page
from tests.strategies import a_checkpoint
from tests.torture.cluster import Cluster
from tests.torture.conftest import Report, Sizes
from tests.torture.nodes import interrupted_once
from weavegraph_checkpoints import CheckpointerError, ConcurrencyConflict, InvalidLabel
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.labels import MAX_LABELS
from weavegraph_checkpoints.models import Label, Session, Step

pytestmark = [
    pytest.mark.torture,
    pytest.mark.timeout(3600),
    pytest.mark.vendor("mysql"),
]

CONFLICT, NOT_PREPARED = 1213, 1047
SECONDS_TO_APPLY = 0.5
STAGES = ((1, 0), (2, 1), (9, 2), (0, 0), (1, 0))
"""Step and expected last step; in ``FIRST_SAVES`` the session does not exist yet."""
FIRST_SAVES = (0, 3)
INSERT_STEP = "INSERT INTO weavegraph_checkpoints_step"


@pytest.fixture
def here(cluster: Cluster) -> DjangoCheckpointer:
    return DjangoCheckpointer(cluster.waiting[0])


@pytest.fixture
def there(cluster: Cluster) -> DjangoCheckpointer:
    return DjangoCheckpointer(cluster.waiting[1])


def retried(caplog: pytest.LogCaptureFixture) -> list[object]:
    """Return the error codes of the retries that were logged."""
    return [record.error_code for record in caplog.records if hasattr(record, "error_code")]


def get_steps(checkpointer: DjangoCheckpointer) -> list[int]:
    return [each.step for each in checkpointer.query_steps("session").checkpoints]


def test_a_save_that_conflicts_is_retried(
    here: DjangoCheckpointer, there: DjangoCheckpointer, caplog: pytest.LogCaptureFixture
) -> None:
    save_history(there, "session", [1])
    with (
        interrupted_once("waiting-0", INSERT_STEP, lambda: there.save(a_checkpoint("session", 2))),
        caplog.at_level(logging.WARNING),
    ):
        here.save(a_checkpoint("session", 3))
    assert retried(caplog) == [CONFLICT]
    assert get_steps(here) == get_steps(there) == [3, 2, 1]


def test_a_checked_save_that_conflicts_loses(
    here: DjangoCheckpointer, there: DjangoCheckpointer, caplog: pytest.LogCaptureFixture
) -> None:
    save_history(there, "session", [1])
    save = partial(there.save_with_concurrency_check, a_checkpoint("session", 2), 1)
    with (
        interrupted_once("waiting-0", INSERT_STEP, save),
        caplog.at_level(logging.WARNING),
        pytest.raises(ConcurrencyConflict) as caught,
    ):
        here.save_with_concurrency_check(a_checkpoint("session", 3), 1)
    assert caught.value.actual == 2
    assert retried(caplog) == [CONFLICT]
    assert get_steps(here) == [2, 1]


def test_the_documented_retry_of_an_atomic_block(
    here: DjangoCheckpointer, there: DjangoCheckpointer
) -> None:
    save_history(there, "session", [1])
    documented = page("scale-out-galera")
    (block,) = [each for each in documented.blocks if "transaction.atomic()" in each.text]
    text = block.text.replace("atomic()", "atomic('waiting-0')")
    text = text.replace("DjangoCheckpointer()", "DjangoCheckpointer('waiting-0')")
    namespace: dict[str, Any] = {}
    run_block(replace(block, text=text), documented, namespace)
    with interrupted_once(
        "waiting-0", INSERT_STEP, partial(there.save, a_checkpoint("session", 2))
    ):
        namespace["save_with_rows_of_my_own"](a_checkpoint("session", 3))
    assert get_steps(here) == [3, 2, 1]


@pytest.mark.parametrize("is_seen_before_commit", [False, True])
def test_in_the_atomic_block_of_a_caller_the_conflict_passes(
    here: DjangoCheckpointer,
    there: DjangoCheckpointer,
    caplog: pytest.LogCaptureFixture,
    is_seen_before_commit: bool,
) -> None:
    save_history(there, "session", [1])
    here.load_latest("session")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(OperationalError) as caught,
        transaction.atomic(here.using),
    ):
        here.save(a_checkpoint("session", 3))
        there.save(a_checkpoint("session", 2))
        if is_seen_before_commit:
            time.sleep(SECONDS_TO_APPLY)
            here.load_latest("session")
    assert caught.value.args[0] == CONFLICT
    assert retried(caplog) == []
    assert get_steps(here) == [2, 1]


def test_labels_that_are_replaced_on_two_nodes_do_not_mix(
    here: DjangoCheckpointer, there: DjangoCheckpointer, caplog: pytest.LogCaptureFixture
) -> None:
    save_history(there, "session", [1])
    set_there = partial(there.set_labels, "session", {"there": "1"}, replace=True)
    with (
        interrupted_once("waiting-0", "INSERT INTO weavegraph_checkpoints_label", set_there),
        caplog.at_level(logging.WARNING),
    ):
        assert here.set_labels("session", {"here": "1"}, replace=True) == {"here": "1"}
    assert retried(caplog) == [CONFLICT]
    assert there.get_labels("session") == {"here": "1"}


def test_no_session_gets_too_many_labels_from_two_nodes(
    here: DjangoCheckpointer, there: DjangoCheckpointer
) -> None:
    save_history(there, "session", [1])
    there.set_labels("session", {f"{number}": "" for number in range(MAX_LABELS - 1)})
    add = partial(there.set_labels, "session", {"there": ""})
    with (
        interrupted_once("waiting-0", "INSERT INTO weavegraph_checkpoints_label", add),
        pytest.raises(InvalidLabel),
    ):
        here.set_labels("session", {"here": ""})
    assert len(here.get_labels("session")) == MAX_LABELS


def test_one_node_wins_each_round(
    cluster: Cluster, sizes: Sizes, progress_bar: Callable[..., Any], report: Report
) -> None:
    progress = progress_bar(sizes.rounds, "rounds")
    conflicts = 0

    def save(
        barrier: Barrier, name: str, step: int, expected: int, inside: bool, alias: str
    ) -> Exception | None:
        def save_with_check() -> None:
            with transaction.atomic(alias) if inside else nullcontext():
                checkpointer = DjangoCheckpointer(alias)
                checkpointer.save_with_concurrency_check(a_checkpoint(name, step), expected)

        return call_at_once(barrier, save_with_check, alias)

    with nodes_at_once(cluster) as (pool, barrier):
        for number in range(sizes.rounds):
            step, expected = STAGES[number % len(STAGES)]
            if number % len(STAGES) in FIRST_SAVES:
                name, stored = f"race {number}", 0
            stored += 1
            inside = bool(number // len(STAGES) % 2)
            call = partial(save, barrier, name, step, expected, inside)
            errors = list(pool.map(call, cluster.waiting))
            lost = [error for error in errors if error is not None]
            assert len(lost) == len(cluster.nodes) - 1, errors
            aborted = [error for error in lost if not isinstance(error, ConcurrencyConflict)]
            assert [error.args[0] for error in aborted] == [CONFLICT] * len(aborted)
            assert inside or not aborted
            conflicts += len(aborted)
            for alias in cluster.waiting:
                assert Step.objects.using(alias).filter(session_id=name).count() == stored
                assert Session.objects.using(alias).get(id=name).last_step == step
            progress.update()
    assert cluster.find_differences() == []
    report(
        "galera races",
        cluster.waiting[0],
        nodes=len(cluster.nodes),
        rounds=sizes.rounds,
        winners=sizes.rounds,
        conflicts_in_atomic=conflicts,
    )


def test_labels_that_are_replaced_at_once_do_not_mix(
    cluster: Cluster, sizes: Sizes, progress_bar: Callable[..., Any]
) -> None:
    progress = progress_bar(sizes.rounds, "rounds")
    save_history(DjangoCheckpointer(cluster.waiting[0]), "session", [1])

    def set_labels(barrier: Barrier, value: str, alias: str) -> Exception | None:
        labels = {alias: value}
        call = partial(DjangoCheckpointer(alias).set_labels, "session", labels, replace=True)
        return call_at_once(barrier, call, alias)

    with nodes_at_once(cluster) as (pool, barrier):
        for number in range(sizes.rounds):
            call = partial(set_labels, barrier, f"{number}")
            assert list(pool.map(call, cluster.waiting)) == [None] * len(cluster.nodes)
            labels = DjangoCheckpointer(cluster.waiting[0]).get_labels("session")
            assert labels in [{alias: f"{number}"} for alias in cluster.waiting]
            progress.update()
    assert cluster.find_differences() == []


@contextmanager
def nodes_at_once(cluster: Cluster) -> Iterator[tuple[ThreadPoolExecutor, Barrier]]:
    """Yield a thread for each node, and a barrier for them."""
    barrier = Barrier(len(cluster.nodes))

    def close_all() -> None:
        barrier.wait()
        for alias in cluster.waiting:
            connections[alias].close()

    with ThreadPoolExecutor(len(cluster.nodes)) as pool:
        yield pool, barrier
        for done in [pool.submit(close_all) for _ in cluster.nodes]:
            done.result()


def call_at_once(barrier: Barrier, call: Callable[[], object], alias: str) -> Exception | None:
    """Call at the same time as the other nodes; return the error of the app or the database."""
    connections[alias].ensure_connection()
    barrier.wait()
    try:
        call()
    except (CheckpointerError, Error) as error:
        return error
    return None


@pytest.mark.parametrize("waits", [False, True])
def test_reading_what_another_node_has_saved(
    cluster: Cluster, sizes: Sizes, report: Report, waits: bool
) -> None:
    aliases = cluster.waiting if waits else cluster.aliases
    here, there = DjangoCheckpointer(aliases[0]), DjangoCheckpointer(aliases[1])
    there.load_latest("session")
    stale, lags, reads = 0, [0.0], []
    for step in range(1, sizes.rounds + 1):
        here.save(a_checkpoint("session", step))
        began = time.perf_counter()
        latest = there.load_latest("session")
        reads.append(time.perf_counter() - began)
        if latest is None or latest.step < step:
            stale += 1
            while (latest := there.load_latest("session")) is None or latest.step < step:
                assert time.perf_counter() < began + 10
            lags.append(time.perf_counter() - began)
        assert latest.step == step
    report(
        "galera reads",
        aliases[0],
        wsrep_sync_wait=7 if waits else 0,
        saves=sizes.rounds,
        stale_reads=stale,
        ms_until_seen=max(lags) * 1000,
        ms_of_a_read=sorted(reads)[len(reads) // 2] * 1000,
    )
    assert stale == 0 or not waits


def test_a_node_that_is_cut_off_refuses_every_call(
    cluster: Cluster, here: DjangoCheckpointer, there: DjangoCheckpointer
) -> None:
    save_history(there, "session", [1])
    here.load_latest("session")
    cluster.nodes[0].isolate(True)
    try:
        with pytest.raises(OperationalError):
            here.save(a_checkpoint("session", 9))
        calls: list[Callable[[], object]] = [
            lambda: here.save(a_checkpoint("session", 9)),
            lambda: here.save(a_checkpoint("other", 1)),
            lambda: here.save_with_concurrency_check(a_checkpoint("session", 9), 1),
            lambda: here.load_latest("session"),
            lambda: here.fork_session("session", "fork"),
            lambda: here.set_labels("session", {"key": "value"}),
            lambda: here.delete_session("session"),
            lambda: here.list_sessions(),
        ]
        for call in calls:
            with pytest.raises(OperationalError) as caught:
                call()
            assert caught.value.args[0] == NOT_PREPARED
        # So CONN_HEALTH_CHECKS does not notice it.
        assert connections[here.using].is_usable()
        there.save_with_concurrency_check(a_checkpoint("session", 2), 1)
    finally:
        cluster.nodes[0].isolate(False)
        cluster.nodes[0].rejoin(len(cluster.nodes))
    connections[here.using].close()
    assert get_steps(here) == [2, 1]
    assert here.list_sessions() == ["session"]
    assert not Label.objects.using(here.using).exists()
    assert cluster.find_differences() == []
