"""Parsers that read a request body up to a limit, as bytes that the view decodes."""

from __future__ import annotations

from typing import IO, Any

from django.http import UnreadablePostError
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.api.exceptions import InvalidRequest, TooLarge

MAX_FORK_BYTES = 64 * 1024
MAX_PATCH_BYTES = 256 * 1024
"""Fits 64 labels with every character escaped."""
MAX_ESCAPE_FACTOR = 3
"""How many times longer a text gets if a client escapes every non-ASCII character."""
MAX_BYTES_BESIDES_STATE = 1024 * 1024
_GZIP = b"\x1f\x8b"


class CheckpointParser(BaseParser):
    """Read the JSON of a checkpoint."""

    media_type = "application/json"

    def get_max_bytes(self) -> int | None:
        """Return the maximum size of the body in bytes, or ``None`` for no limit.

        It fits the largest state with every character escaped, and all other fields.
        """
        limit = conf.max_state_bytes()
        return None if limit is None else MAX_ESCAPE_FACTOR * limit + MAX_BYTES_BESIDES_STATE

    def parse(self, stream: IO[bytes], media_type: Any = None, parser_context: Any = None) -> Any:
        """Return the body.

        Raises ``TooLarge``, before the body is read, if its ``Content-Length`` exceeds the
        limit, ``UnsupportedMediaType`` for a compressed body, and ``InvalidRequest`` if the
        body is shorter than its ``Content-Length`` or not in UTF-8.
        """
        request = parser_context["request"]
        encoding = request.headers.get("Content-Encoding", "").strip()
        if encoding.lower() not in ("", "identity"):
            raise UnsupportedMediaType(
                media_type,
                f"the Content-Encoding {encoding!r} is not supported: send the body uncompressed",
            )
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
        if data.startswith(_GZIP):
            raise InvalidRequest("the request body is compressed: send it uncompressed", path="$")
        return data


class ForkParser(CheckpointParser):
    """Read the JSON of a fork."""

    def get_max_bytes(self) -> int:
        return MAX_FORK_BYTES


class PatchParser(CheckpointParser):
    """Read the JSON of a change of a session."""

    def get_max_bytes(self) -> int:
        return MAX_PATCH_BYTES


class MergePatchParser(PatchParser):
    """Read a merge patch of RFC 7396."""

    media_type = "application/merge-patch+json"
