from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.pruning.histories import NOW
from weavegraph_checkpoints.domain import timestamps


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policies see ``NOW`` as the present."""
    monkeypatch.setattr(timestamps, "now", lambda: NOW)


@pytest.fixture(autouse=True)
def no_deadlock() -> Iterator[None]:
    """No transaction may need a second try: each is logged, in whatever thread."""
    logged: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = logged.append  # type: ignore[method-assign]
    logger = logging.getLogger("weavegraph_checkpoints")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    assert [record.getMessage() for record in logged] == []
