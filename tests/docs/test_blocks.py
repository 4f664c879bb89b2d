"""Every Python block of README and docs runs, on the database of the settings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docs.markdown import PAGES, Page
from tests.docs.running import run_blocks

LANGUAGES = {"console", "json", "python", "text"}
COMMENTS = {"", "checkpoint", "output"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Page, given: dict[str, Any]) -> None:
    run_blocks(page, given)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_escapes_the_tests(page: Page) -> None:
    assert page.text.count("```") == 2 * len(page.blocks)
    for block in page.blocks:
        assert block.language in LANGUAGES, f"{page.name}:{block.line}"
        assert block.comment in COMMENTS, f"{page.name}:{block.line}"
        assert (block.language == "text") == (block.comment == "output")


def test_a_block_that_fails_is_found(given: dict[str, Any], tmp_path: Any) -> None:
    for text in ("assert 1 == 2\n", "print(1)\n", "missing\n", "await missing()\n"):
        path = Page(PAGES[0].path.parent / "docs" / "never-written.md")
        path.__dict__["text"] = f"```python\n{text}```\n"
        with pytest.raises((AssertionError, NameError)):
            run_blocks(path, given)
