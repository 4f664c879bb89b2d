"""The ranges of values, and the functions that check them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar

from weavegraph_checkpoints.exceptions import InvalidCheckpoint, InvalidQuery

T = TypeVar("T")

MAX_STEP = 2**63 - 1
MAX_CHANNEL_VERSION = 2**32 - 1
MAX_COUNTER = 2**64 - 1
MAX_CONCURRENCY_LIMIT = 2**63 - 1
MAX_SESSION_ID_LENGTH = 255
MAX_NODES = 256
"""Maximum number of nodes in ``frontier``, ``ran_nodes`` and ``skipped_nodes``, each."""
MAX_CHANNELS = 256
"""Maximum number of names in ``updated_channels``."""
MAX_NAME_LENGTH = 255
"""Maximum length in characters of the name of a node or a channel."""
MAX_NAMES_BYTES = 16 * 1024
"""Maximum size of the JSON of a list of nodes or channels, in bytes."""
MAX_VERSIONS_SEEN = 1024
"""Maximum number of nodes and versions in ``versions_seen``, together."""
MAX_VERSIONS_SEEN_BYTES = 64 * 1024
"""Maximum size of the JSON of ``versions_seen``, in bytes."""
MAX_ERROR_BYTES = 256 * 1024
"""Maximum size of the JSON of each error, in bytes."""
MAX_ERROR_CAUSES = 200
"""Maximum number of causes of an error."""
BYTES_PER_CONTAINER = 28
"""Bytes of ``MAX_STATE_BYTES`` for each list and object that a state may have.

A list takes 70 bytes of memory or more, an object 200: a state of 7 MiB could take 400 MB.
"""
MIN_CONTAINERS = 1000
"""Lists and objects that a state may have whatever ``MAX_STATE_BYTES`` is."""
MAX_PAGE_BYTES = 32 * 1024 * 1024
"""Maximum size of the states on a page of steps, in bytes, if there is more than one."""
MAX_PAGE_COLUMN_BYTES = 4 * 1024 * 1024
"""Maximum size of the other JSON columns on a page of steps, in bytes."""

_NON_NEGATIVE_INT = re.compile("0|[1-9][0-9]{0,18}")


def is_integer(value: object, maximum: int) -> bool:
    """Return whether ``value`` is an ``int`` (not a ``bool``) from 0 to ``maximum``."""
    return type(value) is int and 0 <= value <= maximum


def parse_non_negative_int(text: str | None, maximum: int = MAX_STEP) -> int | None:
    """Return the integer from 0 to ``maximum`` that ``text`` spells in decimal digits.

    Return ``None`` for anything else: a sign, spaces, leading zeros, a greater number.
    """
    if text is None or not _NON_NEGATIVE_INT.fullmatch(text) or int(text) > maximum:
        return None
    return int(text)


def is_storable_text(value: object) -> bool:
    """Return whether ``value`` is text without U+0000 and lone surrogates."""
    if type(value) is not str or "\0" in value:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_session_id(value: object) -> bool:
    """Return whether ``value`` is a valid session id."""
    return type(value) is str and _is_session_id(value)


@lru_cache(maxsize=1024)
def _is_session_id(text: str) -> bool:
    """Return whether the text is a valid id; cached, as every row of a page asks."""
    return 1 <= len(text) <= MAX_SESSION_ID_LENGTH and is_storable_text(text)


def is_owner(value: object) -> bool:
    """Return whether ``value`` is a valid owner; "" is one."""
    return value == "" or is_session_id(value)


def check_integer(
    value: object,
    name: str,
    maximum: int,
    error: type[InvalidCheckpoint | InvalidQuery] = InvalidCheckpoint,
) -> None:
    """Raise ``error`` unless ``value`` is an integer from 0 to ``maximum``."""
    if not is_integer(value, maximum):
        path = name if error is InvalidQuery else f"$.{name}"
        raise error(f"{name} must be an integer from 0 to {maximum}, not {safe_repr(value)}", path)


def check_session_id(value: object, name: str = "session_id") -> None:
    """Raise ``InvalidCheckpoint`` unless ``value`` is a valid session id."""
    if not is_session_id(value):
        raise InvalidCheckpoint(
            f"{name} must be text of 1 to {MAX_SESSION_ID_LENGTH} characters without "
            f"U+0000 and lone surrogates, not {safe_repr(value)}",
            f"$.{name}",
        )


def check_text(value: object, path: str) -> None:
    """Raise ``InvalidCheckpoint`` unless ``value`` is text without U+0000 and lone surrogates."""
    if not is_storable_text(value):
        raise InvalidCheckpoint(
            f"expected text without U+0000 and lone surrogates, not {safe_repr(value)}",
            path,
        )


def copy_sequence(values: Iterable[T], path: str) -> tuple[T, ...]:
    """Return ``values`` as a tuple.

    Raise ``InvalidCheckpoint`` if they are not iterable, or a ``str``.
    """
    if type(values) is tuple:
        return values
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidCheckpoint(f"expected a sequence, not {safe_repr(values)}", path)
    return tuple(values)


def safe_repr(value: Any) -> str:
    """Return a short, printable form of an invalid value for an error message."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
