"""Signals that the service sends."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.dispatch import Signal

checkpoint_saved = Signal()
"""Sent after a save is committed, with ``session_id``, ``step`` and ``using``.

``sender`` is the class of the checkpointer. Errors of a receiver are logged, and affect
neither the caller nor other receivers. The signal is not sent if autocommit is off outside
``atomic()``, because Django does not see that commit.
"""


def send_checkpoint_saved(sender: type, *, session_id: str, step: int, using: str) -> None:
    """Send ``checkpoint_saved`` on commit, if it has receivers."""
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
