"""Parsers that read a request body up to a limit, and decode its JSON without loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.http import UnreadablePostError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from weavegraph_checkpoints import conf, serde
from weavegraph_checkpoints.api.exceptions import InvalidRequest, TooLarge
from weavegraph_checkpoints.exceptions import SerializationError

MAX_SMALL_BODY_BYTES = 64 * 1024
MAX_ESCAPE_FACTOR = 3
"""How many times longer a text gets if a client escapes every non-ASCII character."""
MAX_BYTES_BESIDES_STATE = 1024 * 1024


def get_max_checkpoint_body_bytes() -> int | None:
    """Return the maximum size of a checkpoint's request body in bytes, or ``None`` for no limit.

    It fits the largest state with every character escaped, and all other fields.
    """
    limit = conf.max_state_bytes()
    return None if limit is None else MAX_ESCAPE_FACTOR * limit + MAX_BYTES_BESIDES_STATE


class CheckpointParser(BaseParser):
    """Return the body as bytes, which the view decodes with ``serde``."""

    media_type = "application/json"

    def get_max_bytes(self) -> int | None:
        """Return the maximum size of a request body in bytes, or ``None`` for no limit."""
        return get_max_checkpoint_body_bytes()

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the request body.

        Raises ``TooLarge``, before the body is read, if its ``Content-Length`` exceeds the
        limit, and ``InvalidRequest`` if the body is shorter than its ``Content-Length`` or
        not in UTF-8.
        """
        request: Request = (parser_context or {})["request"]
        limit = self.get_max_bytes()
        length = int(request.META["CONTENT_LENGTH"])
        if length < 0:
            raise InvalidRequest("Content-Length is negative", path="$")
        if limit is not None and length > limit:
            raise TooLarge(f"the request body has {length} bytes, the limit is {limit}")
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.lower() not in ("utf-8", "utf8"):
            raise InvalidRequest("the request body must be encoded in UTF-8", path="$")
        try:
            data = stream.read(length)
        except UnreadablePostError:
            data = b""
        if len(data) < length:
            raise InvalidRequest(
                f"the request body ends after {len(data)} of {length} bytes", path="$"
            )
        return data


class JSONParser(CheckpointParser):
    """Parse a small JSON body."""

    def get_max_bytes(self) -> int:
        return MAX_SMALL_BODY_BYTES

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the JSON value. Raises ``InvalidRequest`` and ``TooLarge``."""
        try:
            return serde.loads_json(super().parse(stream, media_type, parser_context))
        except SerializationError as error:
            raise InvalidRequest(error.message, path=error.path) from None
