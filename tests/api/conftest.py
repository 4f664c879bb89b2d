from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.api.clients import ALL, create_client
from tests.api.event_streams import Listener
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


@pytest.fixture
def api(db: Any) -> Client:
    """A client with every permission of the app."""
    return create_client(*ALL)


@pytest.fixture
def checkpointer(db: Any) -> DjangoCheckpointer:
    """The service that the API uses."""
    return DjangoCheckpointer()


@pytest.fixture(params=["wsgi", "asgi"])
def listener(request: Any, monkeypatch: pytest.MonkeyPatch) -> Listener:
    """A reader of event streams, from WSGI and from ASGI."""
    return Listener(request.param, monkeypatch)
