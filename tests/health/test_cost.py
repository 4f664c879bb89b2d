"""Statements per page are few, states are read only to be decoded, and memory is bounded."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from django.db import connection

from tests.builders import save_history
from tests.health.damage import get_findings
from tests.service.statements import captured
from tests.triggers.helpers import create_session
from weavegraph_checkpoints import VersionedState, health
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.health import RowCount, count_rows, verify
from weavegraph_checkpoints.health.sql import HealthStatements

pytestmark = pytest.mark.django_db

TRIGGER_STATEMENTS = {"mysql": 6, "postgresql": 1, "sqlite": 5}
"""On MariaDB three for the triggers, and three for the account that they run as."""


def statements(**options: Any) -> int:
    """Return how many statements a check takes, without those about the triggers."""
    with captured() as queries:
        assert get_findings(**options) == []
    return len(queries) - TRIGGER_STATEMENTS[connection.vendor]


@pytest.mark.usefixtures("whole_states")
def test_a_page_takes_one_statement() -> None:
    assert statements() == 3
    for count in (1, 30):
        for number in range(count):
            save_history(DjangoCheckpointer(), f"s{number}", [1, 2])
        assert statements() == 5
        assert statements(repair=True) == 5
        assert statements(deep=True) == 7
        assert statements(deep=True, repair=True) == 7


@pytest.mark.usefixtures("whole_states")
def test_statements_grow_with_the_pages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "SESSION_PAGE_SIZE", 5)
    monkeypatch.setattr(health, "STEP_PAGE_SIZE", 20)
    monkeypatch.setattr(health, "DECODE_BATCH_SIZE", 10)
    for number in range(20):
        save_history(DjangoCheckpointer(), f"s{number}", [1, 2])
    assert statements() == (4 + 1) + (2 + 1) + 1
    assert statements(deep=True) == (4 + 1) + (2 + 1) + 4 + 2


@pytest.mark.usefixtures("changes")
def test_keyframes_take_one_statement_for_a_page_and_one_for_each_when_deep() -> None:
    for count in (1, 10):
        for number in range(count):
            save_history(DjangoCheckpointer(), f"s{number}", [1])
        assert statements() == 6
        assert statements(deep=True) == 8 + count


def test_a_check_reads_no_state() -> None:
    save_history(DjangoCheckpointer(), "a", [1])
    with captured() as queries:
        assert get_findings() == []
    for sql in queries.statements:
        outermost = sql.partition(" FROM ")[0]
        for column in ("state", "last_state", "versions_seen"):
            assert f", {column}," not in outermost


def test_progress() -> None:
    for number in range(3):
        save_history(DjangoCheckpointer(), f"s{number}", [1, 2])
    create_session("empty")
    seen: list[RowCount] = []
    assert list(verify(on_progress=seen.append)) == []
    assert seen == [RowCount(sessions=4, steps=0), RowCount(sessions=4, steps=6)]
    assert count_rows() == seen[-1]


def test_nothing_runs_before_the_first_finding_is_asked_for() -> None:
    with captured() as queries:
        findings = verify(repair=True)
    assert len(queries) == 0
    assert list(findings) == []


def test_reads_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_DECODE_BATCH_BYTES", 100_000)
    reads = []
    real = HealthStatements._get_raw_steps

    def stored(self: HealthStatements, condition: str, parameters: Any) -> Any:
        rows = real(self, condition, parameters)
        reads.append([len(row.state) for row in rows])
        return rows

    monkeypatch.setattr(HealthStatements, "_get_raw_steps", stored)
    for step, size in enumerate([10, 60_000, 60_000, 250_000, *[30_000] * 7, 10]):
        state = VersionedState.new_with_user_message("x" * size)
        save_history(DjangoCheckpointer(), "a", [step], state=state)
    DjangoCheckpointer().fork_session("a", "b")
    assert get_findings(deep=True) == []
    assert sum(map(len, reads)) == 24
    assert all(len(read) == 1 or sum(read) <= 100_000 for read in reads)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_DECODE_BATCH_BYTES", 1_000_000)
    state = VersionedState.new_with_user_message("x" * 200_000)
    save_history(DjangoCheckpointer(), "a", range(100), state=state)
    tracemalloc.start()
    try:
        assert get_findings(deep=True) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000
