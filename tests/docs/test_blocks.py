"""Every Python block of README and docs runs, on the database of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.markdown import PAGES, Page
from tests.docs.running import run_blocks

LANGUAGES = {"console", "cron", "ini", "json", "python", "sql", "text"}
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


@pytest.mark.parametrize("text", ["assert 1 == 2", "print(1)", "missing", "await missing()"])
def test_a_block_that_fails_is_found(text: str, tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"```python\n{text}\n```\n", encoding="utf-8")
    with pytest.raises((AssertionError, NameError)):
        run_blocks(Page(path), {})
