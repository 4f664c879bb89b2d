"""Moves histories between this app and databases of the Rust crate weavegraph 0.7."""

from __future__ import annotations

from weavegraph_checkpoints.interchange.exporting import (
    ExportResult,
    count_steps,
    export_history,
)
from weavegraph_checkpoints.interchange.importing import (
    CONFLICTS,
    ImportResult,
    import_history,
)
from weavegraph_checkpoints.interchange.opening import open_source
from weavegraph_checkpoints.interchange.rows import Invalid
from weavegraph_checkpoints.interchange.sources import Source

__all__ = [
    "CONFLICTS",
    "ExportResult",
    "ImportResult",
    "Invalid",
    "Source",
    "count_steps",
    "export_history",
    "import_history",
    "open_source",
]
