"""Deltas: a state as changes to another, so that a save costs the change, not the history.

``build_delta`` tells a state and its base apart, ``FoldedState`` puts them together, and
``plan`` says how a save is stored.
"""

from __future__ import annotations

from weavegraph_checkpoints.serde.deltas.building import Delta, build_delta, build_empty_delta
from weavegraph_checkpoints.serde.deltas.documents import is_delta
from weavegraph_checkpoints.serde.deltas.folding import FoldedState, fold
from weavegraph_checkpoints.serde.deltas.planning import (
    ChainState,
    Storage,
    is_chain_full,
    is_wide,
    plan,
)

__all__ = [
    "ChainState",
    "Delta",
    "FoldedState",
    "Storage",
    "build_delta",
    "build_empty_delta",
    "fold",
    "is_chain_full",
    "is_delta",
    "is_wide",
    "plan",
]
