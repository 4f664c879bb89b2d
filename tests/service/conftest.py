from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


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
