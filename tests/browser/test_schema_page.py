"""The Swagger UI page of the example project."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opener
from tests.browser.middleware import SCHEMA_PAGE

pytestmark = [pytest.mark.browser, pytest.mark.urls("example_project.urls")]


def test_the_page_lists_the_operations_without_external_requests(open_page: Opener) -> None:
    page = open_page(SCHEMA_PAGE)
    latest = page.locator("#operations-weavegraph_checkpoints-weavegraph_load_latest")
    latest.wait_for()
    latest.locator("button").first.click()
    latest.get_by_text("the session was last updated").first.wait_for()
    page.wait_for_load_state("networkidle")
