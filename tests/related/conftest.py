from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.related.shop import installed_shop


@pytest.fixture(scope="module", autouse=True)
def shop(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A project with models that refer to sessions."""
    with django_db_blocker.unblock(), installed_shop():
        yield
