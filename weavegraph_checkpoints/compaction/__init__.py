"""Store whole states as changes to keyframes, and changes as whole states again."""

from __future__ import annotations

from weavegraph_checkpoints.compaction.results import CompactionResult
from weavegraph_checkpoints.compaction.run import DEFAULT_BATCH_SIZE, compact, count_steps

__all__ = ["DEFAULT_BATCH_SIZE", "CompactionResult", "compact", "count_steps"]
