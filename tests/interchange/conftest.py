from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from weavegraph_checkpoints.models import Keyframe, Session, Step


@pytest.fixture
def tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Allow access to both databases without a transaction; delete all rows afterwards."""
    with django_db_blocker.unblock():
        yield
        for alias in ("default", "other"):
            connections[alias].close()
            for model in (Step, Keyframe, Session):
                model.objects.using(alias).all().delete()
