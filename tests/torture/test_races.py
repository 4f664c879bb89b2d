"""Processes that expect the same last step: exactly one wins each round, and none hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any

import pytest

from tests.builders import wrong_snapshots
from tests.service.racing import assert_one_won
from tests.service.racing_processes import RACERS, race, racing_processes
from tests.torture.conftest import Report, Sizes

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3600)]

STAGES = ((1, 0), (2, 1), (9, 2), (0, 0), (1, 0))
"""Step and expected last step; in ``FIRST_SAVES`` the session does not exist yet."""
FIRST_SAVES = (0, 3)


def test_one_process_wins_each_round(
    committed: None, sizes: Sizes, progress_bar: Callable[..., Any], report: Report
) -> None:
    progress = progress_bar(sizes.rounds, "rounds")
    longest = 0.0
    with racing_processes() as pool:
        for number, (step, expected) in enumerate(islice(cycle(STAGES), sizes.rounds)):
            if number % len(STAGES) in FIRST_SAVES:
                session_id, stored = f"race {number}", 0
            stored += 1
            started = time.monotonic()
            errors = race(pool, session_id, step, expected, inside=bool(number // 5 % 2))
            longest = max(longest, time.monotonic() - started) if number else 0.0
            assert_one_won(errors, session_id, expected, step=step, stored=stored, using="default")
            progress.update()
    report(
        "races",
        "default",
        processes=RACERS,
        rounds=sizes.rounds,
        winners=sizes.rounds,
        longest_round_in_seconds=longest,
    )
    assert wrong_snapshots() == []
