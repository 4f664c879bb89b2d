"""The errors of a step: scope, message, chain of causes, details and context."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from weavegraph_checkpoints.admin.formatting import format_scope
from weavegraph_checkpoints.admin.presenters.budget import PageBudget
from weavegraph_checkpoints.admin.presenters.values import build_value_lines
from weavegraph_checkpoints.domain import ErrorEvent, WeaveError
from weavegraph_checkpoints.domain.diff import Path

MAX_CAUSES = 20
MAX_TAGS = 50
"""Tags of an error that are shown."""
MAX_TAG_LENGTH = 200
MAX_SCOPE_LENGTH = 300
MAX_SUMMARY_LENGTH = 100
"""Characters of a collapsed error that are shown."""
LINES_PER_ERROR = 5
"""What an error costs without its causes, details and context."""


def build_errors(
    events: Sequence[ErrorEvent], *, limit: int | None, new: Container[int], budget: PageBudget
) -> list[dict[str, Any]]:
    """Return the last ``limit`` errors, newest first, as many as the budget allows.

    ``new`` contains the indexes of the errors that the step added.
    """
    stop = 0 if limit is None else max(0, len(events) - limit)
    errors: list[dict[str, Any]] = []
    for index in range(len(events) - 1, stop - 1, -1):
        if not budget.take_lines(LINES_PER_ERROR):
            break
        errors.append(build_error(events[index], index, is_new=index in new, budget=budget))
    return errors


def build_error(
    event: ErrorEvent, index: int, *, is_new: bool, budget: PageBudget
) -> dict[str, Any]:
    """Return what the page shows of the error at ``index``, escaped."""
    path: Path = ("errors", "items", index)
    error: WeaveError | None = event.error
    error_path: Path = (*path, "error")
    chain: list[dict[str, Any]] = []
    while error is not None and len(chain) <= MAX_CAUSES:
        if chain and not budget.take_lines():
            break
        message, omitted = budget.truncate(error.message)
        details = build_value_lines(error.details, (*error_path, "details"), budget)
        chain.append({"message": message, "omitted": omitted, "details": details})
        error, error_path = error.cause, (*error_path, "cause")
    return {
        **chain[0],
        "number": index + 1,
        "is_new": is_new,
        "when": event.when,
        "scope": budget.truncate(format_scope(event.scope), MAX_SCOPE_LENGTH)[0],
        "summary": chain[0]["message"][:MAX_SUMMARY_LENGTH],
        "causes": chain[1:],
        "has_more_causes": error is not None,
        "tags": [budget.truncate(tag, MAX_TAG_LENGTH)[0] for tag in event.tags[:MAX_TAGS]],
        "tags_hidden": max(0, len(event.tags) - MAX_TAGS),
        "context": build_value_lines(event.context, (*path, "context"), budget),
    }
