"""Import from and export to databases of the Rust crate weavegraph 0.7."""

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
from weavegraph_checkpoints.interchange.sources import Source, open_source
from weavegraph_checkpoints.interchange.transfer import InvalidRow

__all__ = [
    "CONFLICTS",
    "ExportResult",
    "ImportResult",
    "InvalidRow",
    "Source",
    "count_steps",
    "export_history",
    "import_history",
    "open_source",
]
