"""The workloads and the reports of the benchmarks, without measuring anything."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import mean
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command
from benchmarks import harness, peers
from benchmarks.workloads import build_workloads
from weavegraph_checkpoints import serde

APP, PEER = "this app (SQLite)", "langgraph-sqlite"
ROUNDS = {APP: [0.002, 0.0013, 0.0045], PEER: [0.003, 0.001], "bare psycopg": [0.001]}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0000123, "0.01"), (0.002, "2.00"), (0.0112, "11.2"), (0.2, "200")]
)
def test_milliseconds_have_three_significant_digits(seconds: float, text: str) -> None:
    assert harness.format_ms(seconds) == text


def test_a_cell_has_the_median_the_range_and_the_ratio_to_this_app() -> None:
    assert peers.format_cell(ROUNDS, APP, True) == "2.00 (1.30–4.50)"
    assert peers.format_cell(ROUNDS, PEER, True) == "2.00 (1.00–3.00) ×1.00"
    assert peers.format_cell(ROUNDS, PEER, False) == "2.00 ×1.00"


def test_a_cell_without_this_app_has_no_ratio() -> None:
    assert peers.format_cell(ROUNDS, "bare psycopg", False) == "1.00"


def test_a_cell_of_an_operation_that_a_candidate_lacks_is_a_dash() -> None:
    assert peers.format_cell({APP: [0.001]}, PEER, True) == "–"


@pytest.mark.parametrize("name", ["bare mysqlclient", "langgraph-postgres, pool"])
def test_a_peer_is_compared_with_this_app_on_the_same_database(name: str) -> None:
    server = "MariaDB" if "mysql" in name else "PostgreSQL"
    rounds = {name: [0.001], **{f"this app ({each})": [0.5] for each in peers.SERVERS}}
    rounds[f"this app ({server})"] = [0.004]
    assert peers.format_cell(rounds, name, False) == "1.00 ×0.25"


def test_a_workload_is_a_table_with_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEAVEGRAPH_TEST_DATA", raising=False)
    workload = next(build_workloads(0.1))
    text = peers.format_workload(workload, {"save": ROUNDS}, {APP: 1_500_000, PEER: 2_000_000})
    assert text.startswith("### (a) 2 sessions × 100 steps, a growing conversation\n\n200 steps, ")
    assert text.endswith(
        "| ms per call | save | MB on disk |\n"
        "| --- | ---: | ---: |\n"
        f"| {APP} | 2.00 (1.30–4.50) | 1.5 |\n"
        f"| {PEER} | 2.00 (1.00–3.00) ×1.00 | 2.0 |"
    )


def test_the_summaries_are_two_tables_and_a_plot() -> None:
    timings = dict.fromkeys(peers.OPERATIONS, ROUNDS)
    readme, page, image = peers.format_summaries(timings).items()
    assert readme[0] == harness.ROOT / "README.md"
    assert "bare psycopg" not in readme[1]
    assert page[0] == harness.ROOT / "docs" / "performance.md"
    assert "| bare psycopg | 1.00 |" in page[1]
    assert image[0] == harness.ROOT / "docs" / "images" / "performance.svg"


def test_a_plot_has_a_bar_for_each_median() -> None:
    text = harness.plot_bars("Times & more", {"save": {APP: [1, 2, 9], "<theirs>": [4]}})
    image = ElementTree.fromstring(text)
    assert [each.text for each in image.findall(f"{SVG}title")] == ["Times & more"]
    assert [float(each.get("width", 0)) for each in image.findall(f"{SVG}rect")] == [300, 600]
    assert {"<theirs>", APP, "save"} <= {each.text for each in image.findall(f"{SVG}text")}


def test_only_the_text_between_the_markers_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n", encoding="utf-8")
    harness.write_section(path, "a", "new")
    text = path.read_text(encoding="utf-8")
    assert text == "before\n<!-- a -->\n\nnew\n\n<!-- /a -->\nafter\n"


def test_every_part_has_a_section_in_the_results() -> None:
    text = harness.RESULTS.read_text(encoding="utf-8")
    assert re.findall(r"^<!-- (\w+) -->$", text, re.MULTILINE) == list(command.PARTS)
    assert re.findall(r"^<!-- /(\w+) -->$", text, re.MULTILINE) == list(command.PARTS)


@pytest.mark.parametrize("name", ["README.md", "docs/performance.md"])
def test_the_summaries_have_the_figures_of_the_results(name: str) -> None:
    results = harness.RESULTS.read_text(encoding="utf-8").split("### (b)")[0]
    full = {row[0]: row[1:] for row in _rows(results)}
    text = (harness.ROOT / name).read_text(encoding="utf-8")
    summary = text.split("<!-- performance -->")[1].split("<!-- /performance -->")[0]
    for candidate, *cells in _rows(summary):
        ranges = [re.sub(r" \(.*?\)", "", cell) for cell in full[candidate]]
        assert cells == ranges[: len(cells)], candidate


def _rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_the_workloads_are_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEAVEGRAPH_TEST_DATA", raising=False)
    first, again = list(build_workloads(0.2)), list(build_workloads(0.2))
    assert first == again
    assert [each.key for each in first] == ["a", "c", "d"]
    sizes = [len(serde.dumps_state(each.state)) for each in first[0].sessions[0]]
    assert 17_000 < mean(sizes) < 19_000


@pytest.mark.parametrize("arguments", [["--only=nothing"], ["--database=Oracle"]])
def test_the_command_refuses_unknown_parts_and_databases(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit):
        command.main()
    assert "invalid choice" in capsys.readouterr().err
