"""Install ``tests.related``, with its tables, for some tests only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.conf import settings
from django.db import connections


@contextmanager
def installed_shop() -> Iterator[None]:
    """Install the app and create its tables in both databases; remove them at the end."""
    apps.set_installed_apps([*settings.INSTALLED_APPS, "tests.related"])
    apps.clear_cache()  # The relations of Session may have been read before.
    try:
        from tests.related.models import MODELS

        for alias in ("default", "other"):
            with connections[alias].schema_editor() as editor:
                for model in MODELS:
                    editor.create_model(model)
        yield
        for alias in ("default", "other"):
            with connections[alias].schema_editor() as editor:
                for model in reversed(MODELS):
                    editor.delete_model(model)
    finally:
        apps.unset_installed_apps()
