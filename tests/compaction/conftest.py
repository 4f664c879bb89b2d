from __future__ import annotations

from collections.abc import Iterator

import pytest

from weavegraph_checkpoints.backends.chains import memory


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """Forget the chains that other tests used."""
    memory.clear()
    yield
    memory.clear()
