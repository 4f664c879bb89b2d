from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from weavegraph_checkpoints.models import Session, Step


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Outside any transaction; what a test commits is removed."""
    with django_db_blocker.unblock():
        yield
        connection.close()
        for model in (Step, Session):
            model.objects.all().delete()
