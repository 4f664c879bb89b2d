"""What ``make bench`` makes of its figures, without measuring any."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import performance, plot, report
from benchmarks.running import write_between
from benchmarks.workloads import workloads
from weavegraph_checkpoints import serde


def figures(*rounds: float) -> dict[str, Any]:
    return {"rounds": list(rounds), "processor": 0.0001, "calls": 10}


OPERATION = {
    report.SQLITE: figures(0.002, 0.001, 0.004),
    report.LANGGRAPH_SQLITE: figures(0.003, 0.001),
    "bare sqlite3": figures(0.001),
}


@pytest.fixture
def kept() -> dict[str, Any]:
    """The figures that are kept in the repository."""
    results: dict[str, Any] = json.loads(performance.RESULTS.read_text(encoding="utf-8"))
    return results


def test_a_figure_is_the_median_of_the_rounds() -> None:
    assert report.middle(figures(3, 1, 2)) == 2
    assert report.milliseconds(figures(0.002, 0.0013, 0.0045)) == "2.00 (1.30–4.50)"
    assert report.milliseconds(figures(0.0112, 0.2, 0.3)) == "200 (11.2–300)"
    assert report.milliseconds(None) == "–"


def test_a_ratio_is_theirs_by_ours() -> None:
    assert report.ratio(OPERATION, report.LANGGRAPH_SQLITE) == pytest.approx(1)
    assert report.ratio(OPERATION, "bare sqlite3") == pytest.approx(0.5)
    assert report.ratio(OPERATION, "bare psycopg") is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.8, "0.80 goal"), (0.65, "0.65 must"), (0.649, "0.65 **below**")]
)
def test_a_verdict_says_what_is_reached(value: float, text: str) -> None:
    assert report.verdict(value, 0.65, 0.8) == text


@pytest.mark.parametrize("fsync", [{"bare without trigger and fsync": 4.0}, {}])
def test_the_shares_of_a_save_add_up(fsync: dict[str, float]) -> None:
    times = {"app": 12.0, "row": 2.0, "encode": 1.0, "bare": 8.0, "bare without trigger": 6.0}
    (_, whole), *parts = report.shares(times | fsync)
    assert sum(part or 0 for _, part in parts) == whole


def test_a_table_is_markdown() -> None:
    text = report.table(["", "ms"], [["save", "1.0"]])
    assert text == "|  | ms |\n| --- | ---: |\n| save | 1.0 |"


def test_a_plot_is_svg_for_light_and_dark() -> None:
    bars = [
        plot.Bar(label="<ours>", value=2, low=1, high=3, style="ours"),
        plot.Bar(label="theirs", value=4, style="peer"),
    ]
    text = plot.bars("Times & more", "Shorter is faster.", [("save", bars)], line=1.5)
    image = ElementTree.fromstring(text)
    drawn = {each.get("class"): each for each in image if each.get("class")}
    assert float(drawn["peer"].get("width", 0)) == 2 * float(drawn["ours"].get("width", 0))
    assert {"range", "line", "title"} <= set(drawn)
    assert "prefers-color-scheme: dark" in text


def test_the_page_the_readme_and_the_plots_are_those_of_the_kept_figures(
    kept: dict[str, Any],
) -> None:
    for path, (begin, end), text in (
        (performance.PAGE, performance.MARKS, report.page(kept)),
        (performance.README, performance.README_MARKS, report.readme(kept)),
    ):
        assert f"{begin}\n{text}\n{end}" in path.read_text(encoding="utf-8")
    for name, text in report.plots(kept).items():
        assert (performance.IMAGES / name).read_text(encoding="utf-8") == text


def test_a_part_alone_makes_a_page(kept: dict[str, Any]) -> None:
    for part, found in kept.items():
        assert found["machine"] in report.page({part: found})
    assert report.page({}).strip() == report.readme({}) == ""


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("before\n<a>\nold\n<b>\nafter\n", encoding="utf-8")
    write_between(path, "<a>", "<b>", "new")
    assert path.read_text(encoding="utf-8") == "before\n<a>\nnew\n<b>\nafter\n"


def test_the_workloads_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEAVEGRAPH_TEST_DATA", raising=False)
    first, again = list(workloads(0.2)), list(workloads(0.2))
    assert first == again
    assert [each.key for each in first] == ["a", "c", "d"]
    sizes = [len(serde.dumps_state(each.state)) for each in first[0].sessions[0]]
    assert 17_000 < mean(sizes) < 19_000
