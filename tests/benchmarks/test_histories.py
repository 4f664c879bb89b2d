"""The reports of long histories, without measuring anything."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.histories_report import (
    OURS,
    WHOLE,
    Cell,
    Measured,
    format_growing,
    format_rows,
    plot_growing,
)

PEER = "langgraph-sqlite"
OPERATIONS = ("save", "load latest, warm", "load latest, cold", "page of 25, cold")


def build_measured(ours: float, whole: float, *, is_short: bool = True) -> Measured:
    cells = {OURS: Cell(ours, ours), WHOLE: Cell(whole, 2 * whole), PEER: Cell(ours, ours)}
    sizes = {OURS: 3000, WHOLE: 60_000, PEER: 30_000} if is_short else {OURS: 4000}
    return Measured(dict.fromkeys(OPERATIONS, cells), sizes)


GROWING = {
    "SQLite": {
        100: build_measured(0.0005, 0.001),
        5000: build_measured(0.001, 0.02, is_short=False),
    }
}


def test_a_row_has_each_value_and_its_ratio_to_this_app() -> None:
    rows = {row[1]: row[2:] for row in format_rows("shape", GROWING["SQLite"][100])}
    assert rows["save, ms"] == ["0.50", "1.00", "0.50", "2.00", "1.00"]
    assert rows["save, ms, mean"] == ["0.50", "2.00", "0.50", "4.00", "1.00"]
    assert rows["kB on disk per step"] == ["3.0", "60.0", "30.0", "20.00", "10.00"]
    assert "kB of log per save" not in rows


def test_the_size_of_a_session_that_was_not_saved_as_a_whole_is_a_dash() -> None:
    rows = {row[1]: row[2:] for row in format_rows("shape", GROWING["SQLite"][5000])}
    assert rows["kB on disk per step"] == ["4.0", "–", "–", "–", "–"]


def test_growing_conversations_have_a_row_for_each_candidate() -> None:
    with_whole = format_growing(GROWING, with_whole=True)
    without = format_growing(GROWING, with_whole=False)
    assert "| 100 · 5,000 steps | save, ms |" in with_whole
    assert "| whole states (SQLite) | 1.00 ×2.0 · 20 ×20.0 |" in with_whole
    assert "| this app (SQLite) | 0.50 · 1.00 |" in without
    assert "30 ×10.0 · – |" in without
    assert WHOLE not in without


def test_plots_are_svg_with_a_line_for_each_candidate() -> None:
    for text in plot_growing(GROWING).values():
        lines = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}polyline")
        assert len(list(lines)) == 3
