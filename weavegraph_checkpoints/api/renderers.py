"""Answers in JSON that is exact, and the browsable API around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils.functional import Promise
from rest_framework import renderers

from weavegraph_checkpoints import serde
from weavegraph_checkpoints.domain import Checkpoint


class CheckpointDocument:
    """A checkpoint in the JSON that it is saved in, with its address in front."""

    def __init__(self, checkpoint: Checkpoint, url: str, fields: frozenset[str] | None) -> None:
        self.checkpoint = checkpoint
        self.url = url
        self.fields = fields
        """Those to show besides ``url``; all when ``None``."""

    def encode(self) -> bytes:
        """Return the document as UTF-8 JSON. Raises ``SerializationError``."""
        wanted = () if self.fields is None else (self.fields,)
        body = serde.dumps(self.checkpoint, *wanted)
        url = msgspec.json.encode(self.url)
        rest = (b"}",) if body == b"{}" else (b",", memoryview(body)[1:])
        return b"".join((b'{"url":', url, *rest))


def _plain(value: Any) -> Any:
    """Return what msgspec encodes in place of a value that it does not know."""
    if isinstance(value, CheckpointDocument):
        return msgspec.Raw(value.encode())
    if isinstance(value, Promise):
        return str(value)
    raise TypeError(f"the API answers with no {type(value).__name__}")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


class JSONRenderer(renderers.BaseRenderer):
    """Renders every answer of the API."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return UTF-8 JSON, indented where the browsable API asks for it."""
        if data is None:
            return b""
        is_one = isinstance(data, CheckpointDocument)
        body = data.encode() if is_one else _ENCODER.encode(data)
        indent = (renderer_context or {}).get("indent")
        return body if indent is None else msgspec.json.format(body, indent=indent)


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """The browsable API, whose forms begin with what the view suggests."""

    def get_default_renderer(self, view: Any) -> JSONRenderer:
        return JSONRenderer()

    def get_filter_form(self, data: Any, view: Any, request: Any) -> None:
        """Show no form of filters: they are parameters, and the description names them."""

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        form = super().get_raw_data_form(data, view, method, request)
        suggest = getattr(view, "suggest", None)
        if form is not None and suggest is not None:
            form.fields["_content"].initial = (
                JSONRenderer().render(suggest(), renderer_context={"indent": 2}).decode()
            )
        return form
