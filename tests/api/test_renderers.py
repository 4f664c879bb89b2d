"""Types that the JSON renderer supports."""

from __future__ import annotations

import pytest
from django.utils.translation import gettext_lazy

from weavegraph_checkpoints.api.renderers import JSONRenderer


def test_lazy_translations() -> None:
    assert (
        JSONRenderer().render({"detail": gettext_lazy("Not found.")}) == b'{"detail":"Not found."}'
    )


def test_unsupported_types() -> None:
    with pytest.raises(TypeError, match="cannot render an object of type object as JSON"):
        JSONRenderer().render({"detail": object()})
