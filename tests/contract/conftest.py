from __future__ import annotations

from typing import Any

import pytest

from weavegraph_checkpoints.checkpointer import (
    Checkpointer,
    DjangoCheckpointer,
    InMemoryCheckpointer,
)


@pytest.fixture(params=[InMemoryCheckpointer, DjangoCheckpointer], ids=["memory", "django"])
def checkpointer(request: pytest.FixtureRequest, db: Any) -> Checkpointer:
    """A fresh checkpointer of each kind, for what both of them promise."""
    made: Checkpointer = request.param()
    return made


@pytest.fixture
def django(db: Any) -> DjangoCheckpointer:
    """The checkpointer with a history, on the database of the settings."""
    return DjangoCheckpointer()
