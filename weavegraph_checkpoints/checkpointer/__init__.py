"""Checkpointers save the steps of sessions and load them to resume from."""

from __future__ import annotations

from weavegraph_checkpoints.checkpointer.base import Checkpointer
from weavegraph_checkpoints.checkpointer.database import DjangoCheckpointer
from weavegraph_checkpoints.checkpointer.memory import InMemoryCheckpointer

__all__ = ["Checkpointer", "DjangoCheckpointer", "InMemoryCheckpointer"]
