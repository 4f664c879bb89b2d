"""One path segment per session id, so that every id has an address.

An id of plain characters is its own segment; any other is ``~`` and the unpadded base64url
of its UTF-8. Servers decode ``%2F`` and clients drop ``..``, so neither could be used raw.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from weavegraph_checkpoints.domain.limits import is_session_id

PLAIN = "[A-Za-z0-9_-][A-Za-z0-9._-]*"
ENCODED = "~[A-Za-z0-9_-]+"

_PLAIN = re.compile(PLAIN)
_ENCODED = re.compile(ENCODED)


def to_segment(session_id: str) -> str:
    """Return the path segment of a session."""
    if _PLAIN.fullmatch(session_id):
        return session_id
    return "~" + urlsafe_b64encode(session_id.encode()).decode().rstrip("=")


def from_segment(segment: str) -> str | None:
    """Return the id of a session from its segment.

    ``None`` for what ``to_segment`` makes of no id that a database could hold: a session
    has one address, not several.
    """
    session_id = segment
    if _ENCODED.fullmatch(segment):
        encoded = segment[1:]
        try:
            session_id = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except ValueError:
            return None
    if is_session_id(session_id) and to_segment(session_id) == segment:
        return session_id
    return None
