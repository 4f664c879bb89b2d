"""What an answer may hold."""

from __future__ import annotations

import pytest
from django.utils.translation import gettext_lazy

from weavegraph_checkpoints.api.renderers import JSONRenderer


def test_a_lazy_text_is_text() -> None:
    assert (
        JSONRenderer().render({"detail": gettext_lazy("Not found.")}) == b'{"detail":"Not found."}'
    )


def test_what_json_cannot_hold_is_an_error_of_the_view() -> None:
    with pytest.raises(TypeError, match="cannot render an object of type object as JSON"):
        JSONRenderer().render({"detail": object()})
