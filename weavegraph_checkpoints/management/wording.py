"""How the app's commands write ids, numbers, sizes and policies."""

from __future__ import annotations

import json
from dataclasses import fields

from django.template.defaultfilters import filesizeformat

from weavegraph_checkpoints.domain.retention import RetentionPolicy


def quoted(session_id: str) -> str:
    """Return an id as a JSON string that keeps to one line of a terminal."""
    return on_one_line(json.dumps(session_id, ensure_ascii=False))


def on_one_line(text: str) -> str:
    """Return text with JSON's escapes in place of what would not print as itself."""
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


def counted(number: int, noun: str) -> str:
    """Return ``1 step`` or ``2 steps``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def sized(octets: int) -> str:
    """Return a number of bytes as ``1.2 MB``."""
    return filesizeformat(octets).replace("\xa0", " ")


def described(policy: RetentionPolicy) -> str:
    """Return the rules of a policy on one line."""
    values = {field.name: getattr(policy, field.name) for field in fields(policy)}
    return on_one_line(
        ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
    )
