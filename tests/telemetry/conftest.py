from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from tests.telemetry.recording import Recording
from weavegraph_checkpoints import telemetry
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """The spans and metrics of a test, in memory."""
    recording = Recording()
    monkeypatch.setattr(telemetry, "_instruments", recording.instruments)
    yield recording
    recording.shut_down()


@pytest.fixture
def checkpointer(committed: None) -> DjangoCheckpointer:
    """A checkpointer whose saves are transactions of their own."""
    return DjangoCheckpointer()


@pytest.fixture
def database() -> dict[str, str]:
    """The attributes of the database ``default``."""
    systems = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mariadb"}
    name = str(connection.settings_dict["NAME"]).rpartition("/")[2]
    return {"db.system.name": systems[connection.vendor], "db.namespace": name}
