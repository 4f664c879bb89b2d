"""Delete old steps and inactive sessions by a retention policy."""

from __future__ import annotations

from weavegraph_checkpoints.pruning.results import PruneResult, SessionLoss, merge_results
from weavegraph_checkpoints.pruning.run import DEFAULT_BATCH_SIZE, prune

__all__ = ["DEFAULT_BATCH_SIZE", "PruneResult", "SessionLoss", "merge_results", "prune"]
