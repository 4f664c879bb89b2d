"""What a row of the list of steps, and the head of a step, show of its small columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from weavegraph_checkpoints.admin.formatting import format_duration, format_node, format_signed
from weavegraph_checkpoints.admin.presenters.timeline import StepDelta
from weavegraph_checkpoints.domain.escaping import escape_control_chars

MAX_NAMES = 8
"""Nodes or channels of one kind that are shown."""


def build_step_row(step: StepDelta) -> dict[str, Any]:
    """Return what a row shows of a step."""
    return {
        "step": step.step,
        "since": "" if step.since is None else format_duration(step.since),
        "is_late": step.is_late,
        "names": [
            {"label": _("Ran"), **truncate_names(step.ran, format_node)},
            {"label": _("Skipped"), **truncate_names(step.skipped, format_node)},
            {"label": _("Changed"), **truncate_names(step.channels)},
        ],
        "messages": "" if step.messages is None else intcomma(step.messages),
        "message_delta": format_signed(step.message_delta),
        "errors": "" if step.errors is None else intcomma(step.errors),
        "has_errors": bool(step.errors),
        "error_delta": format_signed(step.error_delta),
        "size": format_size(step.bytes),
        "size_delta": format_signed(step.size_delta, filesizeformat),
    }


def truncate_names(names: Sequence[str], format_name: Callable[[str], str] = str) -> dict[str, Any]:
    """Return the first names, and the number of hidden ones."""
    return {
        "shown": [escape_control_chars(format_name(name)) for name in names[:MAX_NAMES]],
        "hidden": max(0, len(names) - MAX_NAMES),
    }


def format_size(size: int | None) -> str:
    """Return a number of bytes with its unit, nothing if it is not known."""
    return "" if size is None else filesizeformat(size)
