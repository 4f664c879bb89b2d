"""The errors of a step: scope, message, chain of causes, details and context."""

from __future__ import annotations

from typing import Any

from weavegraph_checkpoints.admin.formatting import format_scope
from weavegraph_checkpoints.admin.presenters.values import build_value_lines
from weavegraph_checkpoints.domain import ErrorEvent, WeaveError
from weavegraph_checkpoints.domain.diff import Path
from weavegraph_checkpoints.domain.escaping import escape_control_chars

MAX_CAUSES = 20
MAX_SUMMARY_LENGTH = 100
"""Characters of a collapsed error that are shown."""


def build_error(event: ErrorEvent, index: int, *, is_new: bool) -> dict[str, Any]:
    """Return what the page shows of the error at ``index``, escaped."""
    path: Path = ("errors", "items", index)
    error: WeaveError | None = event.error
    error_path: Path = (*path, "error")
    chain: list[dict[str, Any]] = []
    while error is not None and len(chain) <= MAX_CAUSES:
        details = build_value_lines(error.details, (*error_path, "details"))
        chain.append({"message": escape_control_chars(error.message), "details": details})
        error, error_path = error.cause, (*error_path, "cause")
    return {
        **chain[0],
        "number": index + 1,
        "is_new": is_new,
        "when": event.when,
        "scope": escape_control_chars(format_scope(event.scope)),
        "summary": chain[0]["message"][:MAX_SUMMARY_LENGTH],
        "causes": chain[1:],
        "has_more_causes": error is not None,
        "tags": [escape_control_chars(tag) for tag in event.tags],
        "context": build_value_lines(event.context, (*path, "context")),
    }
