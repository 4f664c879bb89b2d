from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.folding import FoldedText, fold_text


def fold(text: str, max_lines: int = 12, max_bytes: int = 2_000) -> FoldedText:
    return fold_text(text, max_lines=max_lines, max_bytes=max_bytes, budget=PageBudget())


def lines(count: int, end: str = "\n") -> str:
    return end.join(f"line {number}" for number in range(1, count + 1))


@pytest.mark.parametrize(
    "text", ["", "word", lines(12), lines(12) + "\n", "x" * 2_000, "é" * 1_000]
)
def test_a_short_text_is_not_folded(text: str) -> None:
    folded = fold(text)
    assert (folded.beginning.text, folded.rest) == (text, None)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_text_is_folded_after_twelve_lines(end: str) -> None:
    folded = fold(lines(40, end))
    assert folded.rest is not None
    assert folded.beginning.text.endswith("line 12")
    assert folded.rest.text.startswith("line 13")
    assert folded.rest_lines == 28
    assert fold(lines(40, end) + end).rest_lines == 28


@pytest.mark.parametrize(
    ("text", "shown", "rest_lines"),
    [
        ("x" * 5_000, 2_000, 0),
        ("é" * 5_000, 1_000, 0),
        ("😀" * 5_000, 500, 0),
        ("word " * 1_000, 2_000, 0),
        ("x" * 1_999 + "é" * 500, 1_999, 0),
        ("x" * 1_500 + " " + "y" * 3_000, 1_501, 0),
        ("x" * 5_000 + "\nlast", 2_000, 2),
    ],
)
def test_a_long_line_is_folded_after_2000_bytes(text: str, shown: int, rest_lines: int) -> None:
    folded = fold(text)
    assert folded.rest is not None
    assert len(folded.beginning.text) == shown
    assert folded.beginning.text + folded.rest.text == text
    assert (folded.rest_lines, folded.rest_length) == (rest_lines, len(text) - shown)


def test_isolates_that_the_fold_separates_are_escaped() -> None:
    folded = fold("\u2067a\nb\u2069", max_lines=1)
    assert folded.rest is not None
    assert (folded.beginning.text, folded.rest.text) == (r"\u2067a", r"b\u2069")


def test_what_the_budget_does_not_allow_is_omitted() -> None:
    folded = fold_text("x" * 9_000, max_lines=12, max_bytes=2_000, budget=PageBudget(size=3_000))
    assert folded.rest is not None
    assert (folded.beginning.omitted, folded.rest.omitted) == (0, 6_000)


@given(st.text(st.sampled_from("ab \n\ré😀"), max_size=80), st.integers(1, 4), st.integers(4, 20))
def test_a_fold_loses_only_the_line_break_at_which_it_folds(
    text: str, max_lines: int, max_bytes: int
) -> None:
    folded = fold(text, max_lines, max_bytes)
    beginning = folded.beginning.text
    if folded.rest is None:
        assert beginning == text
        return
    separator = text[len(beginning) : len(text) - folded.rest_length]
    assert separator in ("", "\n", "\r", "\r\n")
    assert beginning + separator + folded.rest.text == text
    assert 0 < len(beginning.encode()) <= max_bytes or separator
    assert len((beginning + "|").splitlines()) <= max_lines
