"""Reads bodies to the limit and no further, and parses them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.http import UnreadablePostError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from weavegraph_checkpoints import conf, serde
from weavegraph_checkpoints.api.errors import Invalid, TooLarge
from weavegraph_checkpoints.backends import StepRow
from weavegraph_checkpoints.exceptions import SerializationError

MAX_SMALL_BODY = 64 * 1024
ESCAPED = 3
"""How many times as long text becomes when a client escapes every character beyond ASCII."""
MAX_BESIDE_STATE = 1024 * 1024


def max_checkpoint_body() -> int | None:
    """Return how many bytes the body of a checkpoint may have: ``None`` for any number.

    Room for the largest state with every character escaped, and for what is beside it.
    """
    limit = conf.max_state_bytes()
    return None if limit is None else ESCAPED * limit + MAX_BESIDE_STATE


class CheckpointParser(BaseParser):
    """Parses the body of a save into the row that is saved."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the ``StepRow`` of the step that the address names.

        Raises ``Invalid``, ``TooLarge`` and ``StateTooLarge``.
        """
        context = parser_context or {}
        session_id, step = context["view"].place
        data = read(stream, context["request"], max_checkpoint_body())
        try:
            checkpoint, state = serde.loads_at(data, session_id, step)
            row = StepRow.of(checkpoint, conf.max_state_bytes(), state)
        except SerializationError as error:
            raise Invalid(error.message, path=error.path) from None
        return row


class SmallParser(BaseParser):
    """Parses a small body into plain values."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return any JSON value. Raises ``Invalid`` and ``TooLarge``."""
        context = parser_context or {}
        data = read(stream, context["request"], MAX_SMALL_BODY)
        try:
            return serde.loads_json(data)
        except SerializationError as error:
            raise Invalid(error.message, path=error.path) from None


def read(stream: IO[bytes], request: Request, limit: int | None) -> bytes:
    """Return the body of a request.

    Raises ``TooLarge`` before anything is read of a body that says it is beyond
    ``limit``, and ``Invalid`` for one that is shorter than it says or in another
    encoding than UTF-8.
    """
    length = int(request.META["CONTENT_LENGTH"])
    if length < 0:
        raise Invalid("the Content-Length is negative", path="$")
    if limit is not None and length > limit:
        raise TooLarge(f"the body has {length} bytes, more than the {limit} that are read")
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        raise Invalid("the body must be in UTF-8", path="$")
    try:
        data = stream.read(length)
    except UnreadablePostError:
        data = b""
    if len(data) < length:
        raise Invalid(f"the body ends after {len(data)} of {length} bytes", path="$")
    return data
