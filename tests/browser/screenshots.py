"""Take the screenshots of the docs from the demo: ``make screenshots``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTH = 1200
LIGHT, DARK = "light", "dark"
CLOSE_NAVIGATION = "localStorage.setItem('django.admin.navSidebarIsOpen', 'false')"


def get_screenshots(last_step: int, error_step: int) -> list[tuple[str, str, str, int]]:
    """Return the name, URL, theme and height of each screenshot."""
    from tests.admin.example_runs import session_urls

    run = "demo-1"
    interrupted = session_urls.get_session_url(run, before=last_step // 2 + 25)
    return [
        ("sessions", session_urls.get_changelist_url(), LIGHT, 470),
        ("weave", interrupted, LIGHT, 720),
        ("weave-dark", interrupted, DARK, 720),
        ("step", session_urls.get_step_url(run, error_step), LIGHT, 720),
        ("compare", session_urls.get_compare_url(run, error_step - 1, error_step), LIGHT, 720),
    ]


@contextmanager
def serve_demo(directory: str) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """Run the demo and serve its admin.

    Yield the URL, a session cookie, and the numbers of the last step and of the first with an
    error.
    """
    os.environ["DATABASE_URL"] = f"sqlite:///{directory}/demo.sqlite3"
    os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    import django

    django.setup()

    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.management import call_command
    from django.test import Client
    from django.test.testcases import LiveServerThread

    from weavegraph_checkpoints.models import Step

    call_command("demo", "--no-serve")
    client = Client()
    client.force_login(get_user_model().objects.get(username="demo"))
    thread = LiveServerThread("127.0.0.1", StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    steps = Step.objects.for_session("demo-1").order_by("step").step_numbers()
    last_and_error = list(steps)[-1], steps.filter(error_count=1)[0]
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    yield f"http://127.0.0.1:{thread.port}", cookie, last_and_error
    thread.terminate()


def main(target: Path) -> None:
    """Write all screenshots to a directory."""
    with tempfile.TemporaryDirectory() as directory, serve_demo(directory) as (url, cookie, steps):
        from playwright.sync_api import sync_playwright

        from tests.browser.conftest import launch

        with sync_playwright() as playwright:
            browser = launch(playwright)
            for name, path, theme, height in get_screenshots(*steps):
                options: dict[str, Any] = {"color_scheme": theme, "base_url": url}
                size = {"width": WIDTH, "height": height}
                context = browser.new_context(viewport=size, **options)
                context.add_cookies([{"name": "sessionid", "value": cookie, "url": url}])
                page = context.new_page()
                page.add_init_script(CLOSE_NAVIGATION)
                page.goto(path)
                page.screenshot(path=target / f"{name}.png")
                context.close()
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
