"""Fixtures for the code blocks of the documentation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from types import ModuleType
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
def task_decorators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replacements for the decorators of task queues that are not installed."""
    for module, name in (("celery", "shared_task"), ("django.tasks", "task")):
        if find_spec(module) is None:
            replacement = ModuleType(module)
            setattr(replacement, name, _task)
            monkeypatch.setitem(sys.modules, module, replacement)


def _task(function: Any) -> Any:
    def enqueue() -> None:
        # A task stores its exception in its result instead of raising it.
        with suppress(Exception):
            function()

    function.enqueue = enqueue
    return function


@pytest.fixture
def given(transactional_db: None, task_decorators: None) -> Iterator[dict[str, Any]]:
    """The names that the pages assume to exist in the reader's project."""
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
