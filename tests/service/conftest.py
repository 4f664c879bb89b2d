from __future__ import annotations

import logging
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


class Remembering(logging.Handler):
    """Keeps what was logged, in whatever thread."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def warnings() -> Iterator[list[logging.LogRecord]]:
    """What the app logs."""
    handler, logger = Remembering(), logging.getLogger("weavegraph_checkpoints")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)
