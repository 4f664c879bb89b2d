"""The simulation of large histories, on made-up costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import simulation
from benchmarks.growth import combine, mean_of_fastest
from benchmarks.harness import format_table, plot_lines
from benchmarks.simulation import (
    COST_HEADS,
    Cost,
    Measurement,
    Report,
    Scenario,
    count_partitions,
    format_bytes,
    format_costs,
    format_seconds,
    format_totals,
    get_lengths,
    get_series,
    interpolate,
    simulate,
)
from tests.docs.markdown import page

KEEP_LAST = 10
SMALL = Scenario(steps=1e5, sessions=1e3)


def a_cost(length: int) -> Cost:
    """A session costs 1000 bytes and 4000 for each step; a prune keeps 2000 and 4000 for each."""
    kept = min(length, KEEP_LAST)
    return Cost(
        save_seconds=0.002 * length,
        log_bytes=9000 * length,
        stored_bytes={"session": 1000, "step": 3000 * length, "keyframe": 1000 * length},
        kept_bytes={"session": 1000, "step": 3000 * kept, "keyframe": 1000 + 1000 * kept},
        save_vacuum_seconds=1e-5 * length,
        prune_seconds=1e-4 * (length - kept),
        prune_vacuum_seconds=1e-5 * (length - kept),
        delete_seconds=1e-4 * kept,
    )


def a_measurement(server: str = "PostgreSQL") -> Measurement:
    costs = {length: a_cost(length) for length in (1, 10, 100, 1000)}
    return Measurement(server=server, costs=costs, larger=a_cost(100), larger_length=100)


REPORT = Report(
    run="Measured once.",
    keep_last=KEEP_LAST,
    measurements=[a_measurement(), a_measurement("MariaDB")],
)


@given(
    steps=st.floats(1, 1e5),
    sigma=st.floats(0, 2),
)
def test_lengths_have_the_mean_and_are_sessions(steps: float, sigma: float) -> None:
    lengths = get_lengths(Scenario(steps=steps * 1e6, sessions=1e6, sigma=sigma))
    assert min(lengths) >= 1
    assert mean(lengths) == pytest.approx(steps, rel=1e-6)
    assert lengths == sorted(lengths)


def test_the_spread_of_the_default_is_as_described() -> None:
    lengths = get_lengths(Scenario())
    assert median(lengths) == pytest.approx(40, rel=0.05)
    assert lengths[int(len(lengths) * 0.99)] == pytest.approx(930, rel=0.05)
    assert len(set(get_lengths(Scenario(sigma=0)))) == 1


def test_more_sessions_than_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="more sessions than steps"):
        get_lengths(Scenario(steps=10, sessions=11))


@given(
    length=st.floats(1, 1e6),
    fixed=st.floats(0, 1e6),
    slope=st.floats(0, 1e6),
    known=st.sets(st.integers(1, 10_000), min_size=2, max_size=6),
)
def test_a_straight_line_is_interpolated_exactly(
    length: float, fixed: float, slope: float, known: set[int]
) -> None:
    values = {each: fixed + slope * each for each in known}
    wanted = fixed + slope * length
    # Beyond the measured lengths, the rounding of the slope grows with the distance.
    tolerance = 1e-6 * (fixed + slope * (length + max(known))) * (1 + length)
    assert interpolate(values, length) == pytest.approx(wanted, abs=tolerance + 1e-9)


def test_what_is_measured_is_interpolated_exactly() -> None:
    values = {1: 7.0, 10: 3.0, 100: 50.0}
    for length, value in values.items():
        assert interpolate(values, length) == pytest.approx(value)
    assert interpolate(values, 55) == pytest.approx(26.5)
    assert interpolate({10: 5.0, 20: 1.0}, 100) == 0
    assert interpolate({10: 5.0}, 20) == 10


def test_the_totals_are_those_of_all_sessions() -> None:
    totals = simulate(a_measurement(), SMALL, KEEP_LAST)
    lengths = get_lengths(SMALL)
    kept = sum(min(length, KEEP_LAST) for length in lengths) / len(lengths) * SMALL.sessions
    assert totals.stored_bytes == pytest.approx(1000 * 1e3 + 4000 * 1e5)
    assert totals.partitioned_bytes == pytest.approx(4000 * 1e5)
    assert totals.log_bytes == pytest.approx(9000 * 1e5)
    assert totals.save_seconds == pytest.approx(0.002 * 1e5)
    assert totals.save_vacuum_seconds == pytest.approx(1e-5 * 1e5)
    assert totals.deleted_steps == pytest.approx(1e5 - kept)
    assert totals.prune_seconds == pytest.approx(1e-4 * (1e5 - kept))
    assert totals.kept_bytes == pytest.approx(2000 * 1e3 + 4000 * kept)
    assert totals.delete_seconds == pytest.approx(1e-4 * kept)


def test_ten_times_as_many_sessions_cost_ten_times_as_much() -> None:
    small = simulate(a_measurement(), SMALL, KEEP_LAST)
    scenario = replace(SMALL, steps=1e6, sessions=1e4)
    large = simulate(a_measurement(), scenario, KEEP_LAST)
    for name in ("stored_bytes", "log_bytes", "prune_seconds", "deleted_steps", "freezes"):
        assert getattr(large, name) == pytest.approx(10 * getattr(small, name))


@pytest.mark.parametrize(
    ("size", "partitions"), [(0, 1), (1, 1), (10, 1), (11, 2), (40, 4), (41, 8), (1280, 128)]
)
def test_partitions_are_a_power_of_two_that_keeps_each_small(size: int, partitions: int) -> None:
    assert count_partitions(size, 10) == partitions


def test_a_vacuum_reads_the_indexes_once_for_each_filled_memory() -> None:
    totals = simulate(a_measurement(), Scenario(), KEEP_LAST)
    assert totals.count_index_passes(1) == pytest.approx(
        totals.deleted_steps * 6 / (64 * 2**20), abs=1
    )
    assert totals.count_index_passes(totals.partitions) == 1
    assert totals.freezes == 5


def test_the_fastest_tenth_of_the_sessions_counts() -> None:
    assert mean_of_fastest([3.0, 1.0, 2.0]) == 1.0
    assert mean_of_fastest([*range(100, 0, -1)]) == 5.5


def test_of_several_runs_the_smallest_value_of_each_figure_counts() -> None:
    slow = msgspec.structs.replace(a_cost(10), save_seconds=9.0, stored_bytes={"step": 7.0})
    fast = msgspec.structs.replace(a_cost(10), log_bytes=1e9, stored_bytes={"step": 8.0})
    combined = combine([slow, fast])
    assert combined.save_seconds == fast.save_seconds
    assert combined.log_bytes == slow.log_bytes
    assert combined.stored_bytes == {"step": 7.0}


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (31_500_000, "31.5 MB"), (3.61e12, "3.61 TB")],
)
def test_sizes(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (90, "1.5 min"), (5400, "1.5 h"), (86_400, "24 h"), (8_640_000, "100 days")],
)
def test_times(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_the_tables_have_each_server() -> None:
    heads, lines = format_totals(REPORT, Scenario())
    assert heads == ["", "PostgreSQL", "MariaDB"]
    table = {name: cells for name, *cells in lines}
    assert table["bytes of all"] == ["4.01 TB", "4.01 TB"]
    assert table["hash partitions of at most 32 GB"] == ["128", "128"]
    assert table["saving, one client"] == ["23.1 days", "23.1 days"]
    assert table["busy clients on average"] == ["0.06", "0.06"]
    assert table["vacuums of all rows to freeze them"] == ["5", "–"]
    costs = format_costs(REPORT)
    assert {len(line) for line in costs} == {len(COST_HEADS)}
    assert costs[0] == ["PostgreSQL, 1", "2.00", "5,000", "9,000", "10.0", "6,000", *"––", "100.0"]
    assert costs[4][0] == "PostgreSQL, 100, larger run"


def test_the_chart_has_a_line_for_whole_and_for_pruned_histories() -> None:
    series = get_series(REPORT, Scenario())
    for lines in series.values():
        whole, pruned = lines.values()
        assert all(pruned[length] < whole[length] for length in whole if length > KEEP_LAST)
    svg = ElementTree.fromstring(plot_lines("title", series))
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}polyline"))) == 4


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growth.json"
    path.write_bytes(msgspec.json.encode(REPORT))
    monkeypatch.setattr(simulation, "load", lambda load=simulation.load: load(path))


def test_the_command_prints_a_scenario(measured: None, capsys: pytest.CaptureFixture[str]) -> None:
    simulation.main(["--steps=1e6", "--sessions=1e4", "--days=10", "--partition-bytes=1e9"])
    printed = capsys.readouterr().out
    assert printed.startswith("Measured once.\n")
    assert "hash partitions of at most 1 GB" in printed
    assert "4.01 GB" in printed


def test_the_command_refuses_more_sessions_than_steps(
    measured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        simulation.main(["--steps=1", "--sessions=2"])
    assert "more sessions than steps" in capsys.readouterr().err


def test_the_page_shows_what_was_measured() -> None:
    """The table of the page, the plot and the measured figures are of one run."""
    report = simulation.load()
    heads, lines = format_totals(report, Scenario())
    assert format_table(heads, lines) in page("scale-out-simulation").text
    images = page("scale-out-simulation").path.parent / "images"
    text = (images / "simulation.svg").read_text(encoding="utf-8")
    for lines_of_server in get_series(report, Scenario()).values():
        for name, line in lines_of_server.items():
            assert f"{name}: {line[max(line)]:.1f}" in text
