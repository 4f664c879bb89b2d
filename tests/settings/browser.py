"""SQLite, and the strictest content security policy on every page."""

from __future__ import annotations

from tests.settings.sqlite import *  # noqa: F403
from tests.settings.sqlite import MIDDLEWARE

MIDDLEWARE = ["tests.browser.middleware.content_security_policy", *MIDDLEWARE]
