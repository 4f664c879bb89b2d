"""The page of the example project that describes the REST API."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opener
from tests.browser.policy import SCHEMA_PAGE

pytestmark = [pytest.mark.browser, pytest.mark.urls("example_project.urls")]


def test_it_shows_the_calls_and_asks_nobody_else(open_page: Opener) -> None:
    page = open_page(SCHEMA_PAGE)
    latest = page.locator("#operations-checkpoints-load_latest")
    latest.wait_for()
    latest.locator("button").first.click()
    latest.get_by_text("the session was last updated").first.wait_for()
    page.wait_for_load_state("networkidle")
