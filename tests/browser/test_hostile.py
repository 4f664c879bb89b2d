"""No page of a hostile run opens dialogs, violates the policy or sends requests."""

from __future__ import annotations

import pytest

from tests.admin.hostile import SESSION_ID, a_hostile_run, get_hostile_page_urls
from tests.browser.conftest import Opener, get_horizontal_overflow
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = pytest.mark.browser


@pytest.fixture
def hostile(transactional_db: None) -> None:
    for checkpoint in a_hostile_run(SESSION_ID):
        DjangoCheckpointer().save(checkpoint)


@pytest.mark.usefixtures("hostile")
def test_hostile_text_does_not_change_the_pages(open_page: Opener) -> None:
    pages = get_hostile_page_urls(SESSION_ID)
    page = open_page(pages[0])
    for url in pages:
        page.goto(url)
        assert page.locator("h1").count() == 1, url
        assert page.locator("#footer").count() == 1, url
        assert page.locator("#content iframe, #content script, #content style").count() == 0, url
        assert page.locator("#content img").count() == page.locator("#content img[alt]").count()
        assert page.locator("[onerror], [onmouseover]").count() == 0, url
        assert page.evaluate("document.baseURI").startswith("http://localhost"), url
        page.evaluate("document.querySelectorAll('#content details').forEach((d) => d.open = true)")
        for width in (1440, 360) if "weavegraph_checkpoints/session/_" in url else ():
            page.set_viewport_size({"width": width, "height": 900})
            assert get_horizontal_overflow(page) <= 0, (url, width)
