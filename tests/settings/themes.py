"""SQLite, and the theme of the admin that WEAVEGRAPH_TEST_THEME names."""

from __future__ import annotations

import os

from tests.settings.sqlite import *  # noqa: F403
from tests.settings.sqlite import INSTALLED_APPS

THEMES = {
    "unfold": ["unfold"],
    "jazzmin": ["jazzmin"],
    "admin_interface": ["admin_interface", "colorfield"],
}
THEME = os.environ.get("WEAVEGRAPH_TEST_THEME", "unfold")

INSTALLED_APPS = [*THEMES[THEME], *INSTALLED_APPS]
X_FRAME_OPTIONS = "SAMEORIGIN"
