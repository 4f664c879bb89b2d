"""Signals of the service."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.dispatch import Signal

checkpoint_saved = Signal()
"""Sent after the commit of a save, with ``session_id``, ``step`` and ``using``.

``sender`` is the class of the checkpointer. An error of a receiver is logged and reaches
neither the saver nor other receivers.
"""


def send_checkpoint_saved(sender: type, *, session_id: str, step: int, using: str) -> None:
    """Send ``checkpoint_saved`` once the transaction is committed, if anyone listens."""
    if checkpoint_saved.has_listeners(sender):
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
