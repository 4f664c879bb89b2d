"""Renderers: lossless JSON, and the browsable API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils.functional import Promise
from rest_framework import renderers

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain import Checkpoint


class CheckpointData:
    """The response data of a checkpoint: its ``url``, then its persisted JSON.

    ``fields`` are the fields to include in addition to ``url``; ``None`` means all.
    """

    def __init__(
        self, checkpoint: Checkpoint, url: str, fields: frozenset[str] | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.url = url
        self.fields = fields

    def encode(self) -> bytes:
        """Return UTF-8 JSON. Raises ``SerializationError``."""
        fields = () if self.fields is None else (self.fields,)
        body = serde.dumps(self.checkpoint, *fields, is_stored=True)
        rest = (b"}",) if body == b"{}" else (b",", memoryview(body)[1:])
        return b"".join((b'{"url":', msgspec.json.encode(self.url), *rest))


def _encode_hook(value: Any) -> Any:
    """Return what msgspec encodes instead of a value of a type that it does not support."""
    if isinstance(value, CheckpointData):
        return msgspec.Raw(value.encode())
    if isinstance(value, Promise):
        return str(value)
    raise TypeError(f"cannot render an object of type {type(value).__name__} as JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_hook)


class JSONRenderer(renderers.BaseRenderer):
    """Render every response of the API as JSON."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return UTF-8 JSON, indented if the browsable API requests it."""
        if data is None:
            return b""
        body = data.encode() if isinstance(data, CheckpointData) else _ENCODER.encode(data)
        indent = (renderer_context or {}).get("indent")
        return body if indent is None else msgspec.json.format(body, indent=indent)


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """The browsable API, whose forms are prefilled with the view's ``example_body()``."""

    def get_default_renderer(self, view: Any) -> JSONRenderer:
        return JSONRenderer()

    def get_filter_form(self, data: Any, view: Any, request: Any) -> None:
        """Show no filter form: the description of the view lists the query parameters."""

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        form = super().get_raw_data_form(data, view, method, request)
        example_body = getattr(view, "example_body", None)
        if form is not None and example_body is not None:
            form.fields["_content"].initial = (
                JSONRenderer().render(example_body(), renderer_context={"indent": 2}).decode()
            )
        return form
