"""Every Python block of README and docs runs, on the database of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.code_blocks import run_blocks
from tests.docs.markdown import PAGES, Page

LANGUAGES = {
    "console",
    "cron",
    "http",
    "ini",
    "javascript",
    "json",
    "promql",
    "python",
    "rust",
    "sql",
    "text",
    "yaml",
}
COMMENTS = {"", "checkpoint", "output", "segment", "session"}
# Those of the REST API need a server, and those of telemetry processes of their own: tests/api and
# tests/telemetry run them.
HERE = [page for page in PAGES if not page.path.name.startswith(("observability", "rest"))]


@pytest.mark.parametrize("page", HERE, ids=lambda page: page.name)
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
