"""Parse the Markdown of the project: fenced blocks, headings, tables and links."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (.+?) -->\s*\Z")
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block, and the HTML comment directly above it."""

    language: str
    text: str
    line: int
    comment: str


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """The path relative to the root of the repository."""
        return os.path.relpath(self.path, ROOT)

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text with fenced blocks replaced by empty lines."""
        return _FENCE.sub(lambda match: "\n" * match.group(0).count("\n"), self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        found = []
        for match in _FENCE.finditer(self.text):
            before = self.text[: match.start()]
            comment = _COMMENT.search(before)
            found.append(
                Block(
                    language=match.group(1),
                    text=match.group(2),
                    line=before.count("\n") + 2,
                    comment="" if comment is None else comment.group(1),
                )
            )
        return found

    @cached_property
    def headings(self) -> list[str]:
        return [match.group(2) for match in _HEADING.finditer(self.prose)]

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as GitHub generates them."""
        seen: Counter[str] = Counter()
        anchors = set()
        for heading in self.headings:
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return anchors

    @cached_property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @cached_property
    def code(self) -> set[str]:
        """All code spans in the prose."""
        return set(_CODE.findall(self.prose))

    def section(self, heading: str) -> str:
        """Return the text below a heading, up to the next heading of the same or a higher level."""
        headings = list(_HEADING.finditer(self.prose))
        for position, match in enumerate(headings):
            if match.group(2) == heading:
                ends = (
                    later.start()
                    for later in headings[position + 1 :]
                    if len(later.group(1)) <= len(match.group(1))
                )
                return self.prose[match.end() : next(ends, len(self.prose))]
        raise AssertionError(f"{self.name} has no heading {heading!r}")


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the first table in a text, without the header."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("|---"):
            break
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def names(cell: str) -> list[str]:
    """Return the code spans of a cell."""
    return _CODE.findall(cell)


DOCS = [Page(path) for path in sorted((ROOT / "docs").rglob("*.md"))]
README = Page(ROOT / "README.md")
PAGES = [README, *DOCS]
RESULTS = Page(ROOT / "benchmarks" / "RESULTS.md")
ALL = [*PAGES, RESULTS, Page(ROOT / "CONTRIBUTING.md"), Page(ROOT / "CHANGELOG.md")]


def page(name: str) -> Page:
    """Return the page ``docs/<name>.md``."""
    return Page(ROOT / "docs" / f"{name}.md")
