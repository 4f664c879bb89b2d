"""The differences between two texts, by words or lines, within the budget of a page."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from difflib import Match, SequenceMatcher
from itertools import accumulate, islice
from typing import NamedTuple

from weavegraph_checkpoints.admin.presenters.budget import PageBudget

MAX_DIFF_WORDS = 400
"""Two texts with more words than this on average are compared by lines."""
MAX_TEXT_LENGTH = 2_000
MAX_EQUAL_LENGTH = 200
"""Characters that are shown of unchanged text."""

OpCode = tuple[str, int, int, int, int]


class TextRun(NamedTuple):
    """A run of text whose ``kind`` is ``equal``, ``removed`` or ``added``."""

    kind: str
    text: str
    omitted: int
    """Number of characters at its end that are not shown."""


def diff_text(before: str, after: str, budget: PageBudget | None = None) -> Iterator[TextRun]:
    """Yield the runs that are equal, removed and added, by words or, in long texts, by lines."""
    budget = budget or PageBudget()
    old, new = _split_texts(before, after, budget)
    for tag, old_start, old_end, new_start, new_end in get_opcodes(old, new, budget):
        if not budget.take_lines(2):
            old_end, new_end, tag = len(old), len(new), "replace"
        removed, added = "".join(old[old_start:old_end]), "".join(new[new_start:new_end])
        if tag == "equal":
            yield build_run("equal", removed, budget)
            continue
        if removed:
            yield build_run("removed", removed, budget)
        if added:
            yield build_run("added", added, budget)
        if old_end == len(old) and new_end == len(new):
            return


def _split_texts(before: str, after: str, budget: PageBudget) -> tuple[list[str], list[str]]:
    """Return the words or lines of two texts, the whole texts if they have too many lines."""
    if not before or not after:
        return [before], [after]
    limit = 2 * MAX_DIFF_WORDS
    old, new = (
        [match[0] for match in islice(re.finditer(r"\s+|\S+", text), limit + 1)]
        for text in (before, after)
    )
    if len(old) + len(new) <= limit:
        return old, new
    if not budget.diff.reserve(before.count("\n") + after.count("\n")):
        return [before], [after]
    old, new = (re.findall(r".*\n|.+", text) for text in (before, after))
    return old, new


class _BudgetMatcher(SequenceMatcher):  # type: ignore[type-arg]
    """Finds no more matches once the budget is exhausted, so that the rest is a replacement."""

    def __init__(
        self, before: Sequence[Hashable], after: Sequence[Hashable], budget: PageBudget
    ) -> None:
        self.budget = budget
        super().__init__(None, before, after, autojunk=False)
        matches: Mapping[Hashable, Sequence[int]] = self.b2j  # type: ignore[attr-defined]
        counts = (1 + len(matches.get(item, ())) for item in before)
        self.pairs_before = [0, *accumulate(counts)]
        """The number of pairs that involve the items before each index."""

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        """Return the longest match within the ranges, an empty one if it would cost too much."""
        end = len(self.pairs_before) - 1 if ahi is None else ahi
        if self.budget.take_pairs(self.pairs_before[end] - self.pairs_before[alo]):
            return super().find_longest_match(alo, ahi, blo, bhi)
        return Match(alo, blo, 0)


def get_opcodes(
    before: Sequence[Hashable], after: Sequence[Hashable], budget: PageBudget
) -> list[OpCode]:
    """Return the opcodes of ``difflib``, with larger replacements if the budget is exhausted."""
    if not budget.take_pairs(len(before) + len(after)):
        return [("replace", 0, len(before), 0, len(after))]
    return list(_BudgetMatcher(before, after, budget).get_opcodes())


def build_run(kind: str, text: str, budget: PageBudget, omitted: int = 0) -> TextRun:
    """Return a run of a text that has ``omitted`` more characters than ``text``, truncated."""
    limit = MAX_EQUAL_LENGTH if kind == "equal" else MAX_TEXT_LENGTH
    shown, truncated = budget.truncate(text, limit)
    return TextRun(kind, shown, truncated + omitted)
