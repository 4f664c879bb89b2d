"""Processes of ``prune_checkpoints``: interrupted at any moment, and concurrent."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.builders import orphans, wrong_snapshots
from tests.commands.processes import STUCK_AFTER_SECONDS, start
from tests.commands.runner import run
from tests.pruning.histories import build_history, create_histories, get_stored_steps
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db(transaction=True)

BATCH = 5
ARGUMENTS = ["prune_checkpoints", "--keep-last=1", f"--batch-size={BATCH}"]
SESSIONS, STEPS = 4, 501


@pytest.fixture
def total_steps() -> int:
    """Histories that take 400 batches; returns how many steps there are."""
    create_histories({f"s{number}": build_history(range(STEPS)) for number in range(SESSIONS)})
    return SESSIONS * STEPS


def wait_for_the_first_batch(before: int) -> None:
    deadline = time.monotonic() + STUCK_AFTER_SECONDS
    while Step.objects.count() == before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_stopped_at_any_moment_it_leaves_whole_batches(total_steps: int, name: str) -> None:
    number = signal.Signals[name]
    process = start(*ARGUMENTS)
    wait_for_the_first_batch(total_steps)
    time.sleep(random.uniform(0, 0.05))
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=STUCK_AFTER_SECONDS)
    deleted = total_steps - Step.objects.count()
    assert 0 < deleted < total_steps - SESSIONS
    assert deleted % BATCH == 0
    assert wrong_snapshots() == []
    assert orphans() == []
    if number == signal.SIGINT:
        assert process.returncode == 130, stderr
        assert stdout.splitlines()[-1] == f"pruned {deleted} steps and 0 sessions"
        assert stderr == "interrupted: run the command again to continue\n"
    else:
        assert process.returncode == -number
    again = run("prune_checkpoints", "--keep-last=1")
    assert again.status == 0
    assert again.lines[-1] == f"pruned {total_steps - SESSIONS - deleted} steps and 0 sessions"
    assert get_stored_steps() == {f"s{index}": {STEPS - 1} for index in range(SESSIONS)}


def test_killed_in_the_removal_of_a_session_it_is_finished_by_another_run(total_steps: int) -> None:
    arguments = ["prune_checkpoints", "--delete-inactive=0h", f"--batch-size={BATCH}"]
    process = start(*arguments)
    wait_for_the_first_batch(total_steps)
    process.kill()
    process.communicate(timeout=STUCK_AFTER_SECONDS)
    left = get_stored_steps()
    assert sum(len(steps) for steps in left.values()) < total_steps
    assert all(STEPS - 1 in steps for steps in left.values())
    assert wrong_snapshots() == []
    assert run("prune_checkpoints", "--delete-inactive=0h").status == 0
    assert (Session.objects.count(), Step.objects.count()) == (0, 0)


def test_processes_side_by_side_share_the_work(total_steps: int) -> None:
    processes = [start(*ARGUMENTS) for _ in range(3)]
    outputs = [process.communicate(timeout=STUCK_AFTER_SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert [stderr for _, stderr in outputs if "again" in stderr] == []
    pruned = [int(stdout.splitlines()[-1].split()[1]) for stdout, _ in outputs]
    assert sum(pruned) == total_steps - SESSIONS
    assert get_stored_steps() == {f"s{index}": {STEPS - 1} for index in range(SESSIONS)}
    assert wrong_snapshots() == []
