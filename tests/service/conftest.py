from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connections

from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Outside any transaction, on every alias; what a test commits is removed."""
    with django_db_blocker.unblock():
        yield
        for alias in ("default", "other"):
            connection = connections[alias]
            connection.close()
            connection.set_autocommit(True)
            for model in (Step, Session, Group):
                model.objects.using(alias).all().delete()


@pytest.fixture
def checkpointer(committed: None) -> DjangoCheckpointer:
    """A checkpointer whose saves are transactions of their own."""
    return DjangoCheckpointer()
