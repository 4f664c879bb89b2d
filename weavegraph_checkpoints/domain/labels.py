"""Labels: what a session is about, as text by key (``customer`` is ``4711``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from weavegraph_checkpoints.domain.limits import MAX_SESSION_ID_LENGTH, is_owner, safe_repr
from weavegraph_checkpoints.exceptions import InvalidLabel

MAX_LABELS = 64
"""Maximum number of labels of a session."""
MAX_LABEL_KEY_LENGTH = 63
"""Maximum length of the key of a label in characters."""
MAX_LABEL_VALUE_LENGTH = MAX_SESSION_ID_LENGTH
"""Maximum length of the value of a label in characters."""

LABEL_KEY_PATTERN = rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_LABEL_KEY_LENGTH - 1}}}"

_KEY = re.compile(LABEL_KEY_PATTERN)


def is_label_key(value: object) -> bool:
    """Return whether ``value`` is 1 to 63 of ``A-Z a-z 0-9 _ . -``, first a letter or digit."""
    return type(value) is str and _KEY.fullmatch(value) is not None


def is_label_value(value: object) -> bool:
    """Return whether ``value`` is up to 255 characters without U+0000 and lone surrogates."""
    return is_owner(value)


def check_label(key: object, value: object, path: str = "labels") -> None:
    """Raise ``InvalidLabel`` for an invalid key or value."""
    if not is_label_key(key):
        raise InvalidLabel(
            f"a label's key is 1 to {MAX_LABEL_KEY_LENGTH} of A-Z a-z 0-9 _ . -, of which the "
            f"first is a letter or digit, not {safe_repr(key)}",
            path,
        )
    if not is_label_value(value):
        raise InvalidLabel(
            f"a label's value is text of up to {MAX_LABEL_VALUE_LENGTH} characters without "
            f"U+0000 and lone surrogates, not {safe_repr(value)}",
            f"{path}.{key}",
        )


def copy_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of labels, sorted by key. Raise ``InvalidLabel``, also for too many."""
    copy = dict(_get_items(labels))
    for key, value in copy.items():
        check_label(key, value)
    check_label_count(len(copy))
    return dict(sorted(copy.items()))


def copy_label_changes(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return a copy of changes, in which ``None`` removes a key. Raise ``InvalidLabel``."""
    copy = dict(_get_items(changes))
    for key, value in copy.items():
        check_label(key, "" if value is None else value)
    return copy


def check_label_count(count: int) -> None:
    """Raise ``InvalidLabel`` if a session would have more than ``MAX_LABELS`` labels."""
    if count > MAX_LABELS:
        raise InvalidLabel(f"a session has at most {MAX_LABELS} labels, not {count}", "labels")


def parse_label(text: str, separator: str) -> tuple[str, str]:
    """Return the key and the value of ``key=value``, split at the first ``separator``.

    Raise ``InvalidLabel``.
    """
    key, found, value = text.partition(separator)
    if not found:
        raise InvalidLabel(f"expected key{separator}value, not {safe_repr(text)}", "label")
    check_label(key, value, "label")
    return key, value


def merge_labels(pairs: Iterable[tuple[str, str]]) -> dict[str, str] | None:
    """Return the labels of all pairs, or ``None`` if two values are given for one key."""
    labels: dict[str, str] = {}
    for key, value in pairs:
        if labels.setdefault(key, value) != value:
            return None
    return labels


def _get_items(labels: object) -> Iterable[tuple[Any, Any]]:
    if not isinstance(labels, Mapping):
        raise InvalidLabel(f"expected a mapping of text to text, not {safe_repr(labels)}", "labels")
    return labels.items()
