"""Processes that race on one expectation, and one that is killed while it saves."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from tests.builders import save_history, wrong_snapshots
from tests.service.racing import assert_one_won
from tests.service.racing_processes import race, racing_processes
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session


@pytest.fixture(scope="module")
def racers() -> Iterator[ProcessPoolExecutor]:
    with racing_processes() as pool:
        yield pool


@pytest.mark.parametrize("inside", [False, True], ids=["by themselves", "in atomic()"])
def test_of_processes_that_expect_the_same_one_wins(
    checkpointer: DjangoCheckpointer, racers: ProcessPoolExecutor, inside: bool
) -> None:
    for attempt in range(4):
        born, from_zero = f"born {attempt}", f"zero {attempt}"
        for stored, (session_id, step, expected) in {
            "birth": (1, (born, 1, 0)),
            "step 2": (2, (born, 2, 1)),
            "step 9": (3, (born, 9, 2)),
            "step 0": (1, (from_zero, 0, 0)),
            "step 1": (2, (from_zero, 1, 0)),
        }.values():
            results = race(racers, session_id, step, expected, inside=inside)
            assert_one_won(results, session_id, expected, step=step, stored=stored, using="default")
    assert wrong_snapshots() == []


def test_a_new_process_resumes_where_others_stopped(
    checkpointer: DjangoCheckpointer, racers: ProcessPoolExecutor
) -> None:
    save_history(checkpointer, "session", [1, 2, 3])
    connection.close()
    results = race(racers, "session", 4, 3, inside=False)
    assert_one_won(results, "session", 3, step=4, stored=4, using="default")


@pytest.mark.parametrize("acknowledged", [1, 40])
def test_every_acknowledged_save_outlives_its_process(
    checkpointer: DjangoCheckpointer, acknowledged: int
) -> None:
    root = Path(__file__).resolve().parent.parent.parent
    command = [sys.executable, "-m", "tests.service.worker", "killed/session"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(acknowledged)]
        process.send_signal(signal.SIGKILL)
        seen += [int(line) for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    assert seen == list(range(1, len(seen) + 1))
    for step in seen:
        kept = checkpointer.load("killed/session", step)
        assert kept is not None
        assert kept.state.messages.items[0].content.startswith(f"{step}: ")
    last_step = Session.objects.get().last_step
    assert last_step - len(seen) in (0, 1)
    assert wrong_snapshots() == []
    save_history(checkpointer, "killed/session", [last_step + 1])
