"""Strong ETags of a session's latest checkpoint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils.http import parse_etags

from weavegraph_checkpoints.backends import Version

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def etag(version: Version) -> str:
    """Return the ETag of a version: another for each save, and for a session made anew."""
    made = (version.created_at - _EPOCH) // timedelta(microseconds=1)
    return f'"{made:x}-{version.revision:x}"'


def is_known(header: str, tag: str) -> bool:
    """Say whether ``If-None-Match`` names ``tag``, which a proxy may have made weak."""
    known = parse_etags(header)
    return known == ["*"] or any(each.removeprefix("W/") == tag for each in known)
