"""A browser for the admin pages, which reports errors, dialogs and external requests.

Playwright is imported where it is used, because runs that deselect these tests collect them too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.test import Client

from tests.admin.conftest import get_user

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
    console.error("policy: " + event.violatedDirective + " " + event.blockedURI));
"""


@dataclass
class PageErrors:
    """Script errors, dialogs, policy violations and external requests of the pages."""

    origin: str
    found: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.add_init_script(REPORT_VIOLATIONS)
        page.on("dialog", self._on_dialog)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("console", self._on_console)
        page.on("request", self._on_request)

    def _on_dialog(self, dialog: Any) -> None:
        self.found.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_console(self, message: Any) -> None:
        if message.type == "error" and "404" not in message.text:
            self.found.append(f"console: {message.text}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "data:")):
            self.found.append(f"request: {request.url}")


Opener = Callable[..., "Page"]


def launch(playwright: Playwright) -> Browser:
    """Start the browser in ``CHROMIUM``, or else the installed Chromium."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert path, f"Install one of {', '.join(NAMES)}, or set CHROMIUM to the path of a browser."
    return playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of all tests."""
    from playwright.sync_api import sync_playwright

    # Playwright runs an event loop in this thread, in which Django refuses to query.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def page_errors(live_server: Any) -> Iterator[PageErrors]:
    """The errors of all pages; the test fails if there are any."""
    page_errors = PageErrors(live_server.url)
    yield page_errors
    assert page_errors.found == []


@pytest.fixture
def open_page(
    transactional_db: None, browser: Browser, live_server: Any, page_errors: PageErrors
) -> Iterator[Opener]:
    """Return a function that opens a page in a new window, signed in with a role."""
    contexts: list[BrowserContext] = []

    def open_page(
        path: str,
        *,
        role: str = "superuser",
        width: int = 1440,
        theme: str = "light",
        script: bool = True,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,  # type: ignore[arg-type]
            java_script_enabled=script,
            base_url=live_server.url,
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        client = Client()
        client.force_login(get_user(role))
        name = settings.SESSION_COOKIE_NAME
        cookie = {"name": name, "value": client.cookies[name].value, "url": live_server.url}
        context.add_cookies([cookie])  # type: ignore[list-item]
        page = context.new_page()
        page_errors.watch(page)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


def get_horizontal_overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))
