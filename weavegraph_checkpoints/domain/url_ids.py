"""Session ids in URLs: one path segment per id, and one id per segment.

A plain id is its own segment. Any other is ``~`` and the unpadded base64url of its UTF-8,
because servers decode ``%2F`` and clients remove ``..``.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from weavegraph_checkpoints.domain.limits import is_session_id

PLAIN = "[A-Za-z0-9_-][A-Za-z0-9._-]*"
ENCODED = "~[A-Za-z0-9_-]+"

_PLAIN = re.compile(PLAIN)
_ENCODED = re.compile(ENCODED)


def encode_session_id(session_id: str) -> str:
    """Return the path segment for a session id."""
    if _PLAIN.fullmatch(session_id):
        return session_id
    return "~" + urlsafe_b64encode(session_id.encode()).decode().rstrip("=")


def decode_session_id(segment: str) -> str | None:
    """Return the session id in a path segment.

    Return ``None`` if the segment is not canonical, or decodes to no valid session id.
    """
    session_id = segment
    if _ENCODED.fullmatch(segment):
        encoded = segment[1:]
        try:
            session_id = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except ValueError:
            return None
    if is_session_id(session_id) and encode_session_id(session_id) == segment:
        return session_id
    return None
