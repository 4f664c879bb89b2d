"""The report of the figures of a Galera cluster, without measuring anything."""

from __future__ import annotations

from benchmarks import galera
from benchmarks.galera import SPREADS, Measured

FAST = Measured(seconds=[0.001, 0.002, 0.002, 0.003], retries=0, failures=0, duration=2.0)
CONFLICTS = Measured(seconds=[0.004, 0.004, 0.1], retries=6, failures=1, duration=2.0)
FOUND = {
    "no cluster": dict.fromkeys(SPREADS, FAST),
    "3 nodes": {**dict.fromkeys(SPREADS, FAST), galera.SHARED: CONFLICTS},
}


def test_saves_per_second_and_the_median() -> None:
    rows = galera.format_saves(FOUND).splitlines()
    assert rows[2] == "| no cluster | 2 (2.00) | 2 (2.00) | 2 (2.00) |"
    assert rows[3] == "| 3 nodes | 2 (2.00) | 2 (2.00) | 2 (4.00) |"


def test_the_cost_of_conflicts_counts_saves_that_failed() -> None:
    rows = galera.format_conflicts(FOUND).splitlines()
    assert rows[2].startswith("| no cluster | 0.00 | 0.00% | 2.00 |")
    assert rows[3].startswith("| 3 nodes | 1.50 | 25.00% | 4.00 |")


def test_without_mariadb_nothing_is_measured() -> None:
    assert galera.measure_galera(["SQLite"], True) == {}
