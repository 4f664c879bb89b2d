"""Install, remove and inspect the snapshot trigger.

The trigger keeps ``Session.last_*``, ``status``, ``revision`` and ``updated_at`` in sync with
the step that has the highest number, whoever writes the steps.
"""

from __future__ import annotations

from weavegraph_checkpoints.triggers.inspection import Problem, problems
from weavegraph_checkpoints.triggers.installation import (
    LATEST,
    definitions,
    install,
    remove,
    supports,
)

__all__ = [
    "LATEST",
    "Problem",
    "definitions",
    "install",
    "problems",
    "remove",
    "supports",
]
