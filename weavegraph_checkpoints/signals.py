"""Signals of the service."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.dispatch import Signal

checkpoint_saved = Signal()
"""Sent after the commit of a save, with ``session_id``, ``step`` and ``using``.

``sender`` is the class of the checkpointer. An error of a receiver is logged and reaches
neither the saver nor other receivers. Not sent where the caller has turned autocommit
off outside ``atomic()``: Django knows no commit there.
"""


def send_checkpoint_saved(sender: type, *, session_id: str, step: int, using: str) -> None:
    """Send ``checkpoint_saved`` once the transaction is committed, if anyone listens."""
    if not checkpoint_saved.has_listeners(sender):
        return
    connection = transaction.get_connection(using)
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(
            partial(
                checkpoint_saved.send_robust,
                sender=sender,
                session_id=session_id,
                step=step,
                using=using,
            ),
            using=using,
            robust=True,
        )
