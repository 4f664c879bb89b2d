"""Format ids, counts, sizes, policies and results for a terminal."""

from __future__ import annotations

import json
from dataclasses import fields

from django.template.defaultfilters import filesizeformat, pluralize

from weavegraph_checkpoints.domain.escaping import escape_unprintable
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.pruning import PruneResult


def quote(text: str) -> str:
    """Return ``text`` as a JSON string on one line, with control characters escaped."""
    return escape_unprintable(json.dumps(text, ensure_ascii=False))


def format_count(number: int, noun: str) -> str:
    """Return ``1 step`` or ``2 steps``."""
    return f"{number} {noun}{pluralize(number)}"


def format_size(size: int) -> str:
    """Return a number of bytes as ``1.2 MB``."""
    return filesizeformat(size).replace("\xa0", " ")


def format_result(result: PruneResult) -> str:
    """Return what a prune deletes as ``2 steps, 1 session, 1.2 MB``."""
    steps, sessions = format_count(result.steps, "step"), format_count(result.sessions, "session")
    return f"{steps}, {sessions}, {format_size(result.bytes)}"


def format_protected(result: PruneResult) -> str:
    """Return which inactive sessions a prune does not delete."""
    names = ", ".join(map(quote, result.first_protected))
    more = ", …" if result.protected > len(result.first_protected) else ""
    count = format_count(result.protected, "session")
    return f"{count} not deleted, because other objects refer to them: {names}{more}"


def format_policy(policy: RetentionPolicy) -> str:
    """Return the fields of a policy on one line; several session ids are only counted."""
    values = {field.name: getattr(policy, field.name) for field in fields(policy)}
    return ", ".join(
        f"{name}={_format_value(value)}" for name, value in values.items() if value is not None
    )


def _format_value(value: object) -> str:
    if isinstance(value, tuple):
        return quote(value[0]) if len(value) == 1 else f"{len(value)} ids"
    if isinstance(value, dict):
        return " ".join(quote(f"{key}={text}") for key, text in value.items())
    return quote(value) if isinstance(value, str) else str(value)
