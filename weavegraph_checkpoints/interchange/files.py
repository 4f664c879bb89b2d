"""Paths of SQLite files, checked before SQLite opens them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from stat import S_ISREG

from weavegraph_checkpoints.exceptions import InterchangeError

_LOG_SUFFIXES = ("-journal", "-wal", "-shm")
_CREDENTIALS = re.compile(r":.*@|((?:pass|pwd|secret|token)[^=]*=).*", re.IGNORECASE | re.DOTALL)


def stat_file(path: Path, name: str) -> os.stat_result | None:
    """Return the status of a regular file, or ``None`` if nothing has this path.

    Raises ``InterchangeError`` for a directory, a FIFO, a device or a socket, which SQLite
    might wait for, and if SQLite's log files next to it are such.
    """
    found = _stat(path, name)
    if found is not None:
        for suffix in _LOG_SUFFIXES:
            _stat(path.with_name(path.name + suffix), f"{name[:-1]}{suffix}{name[-1]}")
    return found


def _stat(path: Path, name: str) -> os.stat_result | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InterchangeError(f"{name} cannot be opened: {reason}") from error
    if not S_ISREG(found.st_mode):
        raise InterchangeError(f"{name} is not a regular file")
    return found


def hide_credentials(location: str) -> str:
    """Return the ``repr`` of a path that does not exist, without what may be a password.

    It may be a URL with a typing error, or ``password=...``.
    """
    return repr(_CREDENTIALS.sub(lambda match: f"{match[1]}***" if match[1] else ":***@", location))
