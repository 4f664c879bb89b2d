"""What the blocks of the documentation find when they run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps.registry import Apps
from django.contrib import admin
from django.db import connection, models

from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.signals import checkpoint_saved


class Invoice(models.Model):
    """The business rows of ``docs/transactions.md``."""

    number = models.CharField(max_length=40)

    class Meta:
        app_label = "documentation"
        apps = Apps()

    def __str__(self) -> str:
        return self.number


@pytest.fixture
def given(transactional_db: None) -> Iterator[dict[str, Any]]:
    """Names that the pages call the reader's own; the database is as it was afterwards."""
    receivers = list(checkpoint_saved.receivers)
    admins = dict(admin.site._registry)
    with connection.schema_editor() as editor:
        editor.create_model(Invoice)
    yield {"Invoice": Invoice}
    with connection.schema_editor() as editor:
        editor.delete_model(Invoice)
    admin.site._registry.clear()
    admin.site._registry.update(admins)
    triggers.install()
    checkpoint_saved.receivers[:] = receivers
    checkpoint_saved.sender_receivers_cache.clear()
