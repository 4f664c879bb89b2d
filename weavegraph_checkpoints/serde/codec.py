"""Encode and decode JSON; errors are ``SerializationError`` with a path."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from weavegraph_checkpoints.serde import errors

T = TypeVar("T")

ENCODER = msgspec.json.Encoder()


def encode(document: object, path: str = "$") -> bytes:
    """Return a document as UTF-8 JSON; ``path`` is its root."""
    try:
        return ENCODER.encode(document)
    except ValueError as error:
        raise errors.from_encode_error(error, document, path) from None


def decode(decoder: msgspec.json.Decoder[T], data: bytes | str, path: str) -> T:
    """Return the value of a JSON text; ``path`` is its root."""
    try:
        if isinstance(data, bytes) and not data.isascii():
            data.decode()  # msgspec does not check the UTF-8 of unknown keys
        return decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError, TypeError) as error:
        raise errors.from_decode_error(error, data, path) from None
