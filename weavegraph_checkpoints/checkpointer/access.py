"""Which database a call uses, and for which owner."""

from __future__ import annotations

from django.db import connections, router

from weavegraph_checkpoints.backends import Backend, get_backend
from weavegraph_checkpoints.domain.limits import is_owner, safe_repr
from weavegraph_checkpoints.exceptions import InvalidCheckpoint
from weavegraph_checkpoints.models import Session


class DatabaseAccess:
    """The database and the owner of a checkpointer; see ``DjangoCheckpointer``."""

    def __init__(self, using: str | None = None, *, owner: str | None = None) -> None:
        if owner is not None and not is_owner(owner):
            raise InvalidCheckpoint(
                "owner must be text of up to 255 characters without U+0000 and lone "
                f"surrogates, not {safe_repr(owner)}",
                "owner",
            )
        self.using = using
        self.owner = owner

    def _for_write(self) -> Backend:
        return get_backend(connections[self.using or router.db_for_write(Session)])

    def _for_read(self) -> Backend:
        return get_backend(connections[self.using or router.db_for_read(Session)])
