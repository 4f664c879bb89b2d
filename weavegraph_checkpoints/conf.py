"""The settings: one dict, ``WEAVEGRAPH_CHECKPOINTS``, read at call time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.exceptions import InvalidPolicy

NAME = "WEAVEGRAPH_CHECKPOINTS"
DEFAULT_MAX_STATE_BYTES = 7 * 1024 * 1024


def max_state_bytes() -> int | None:
    """``MAX_STATE_BYTES``: the largest serialised state that is saved.

    Bytes of UTF-8 JSON, 1 or more; 7 MiB by default, which MariaDB's default packet
    holds even when every byte is escaped; ``None`` for no limit. Raises
    ``ImproperlyConfigured``.
    """
    value = _value("MAX_STATE_BYTES", DEFAULT_MAX_STATE_BYTES)
    if value is None or (type(value) is int and value > 0):
        return value
    raise ImproperlyConfigured(
        f"{NAME}['MAX_STATE_BYTES'] must be a number of bytes above 0, or None, not {value!r}."
    )


def retention() -> list[RetentionPolicy]:
    """``RETENTION``: the retention policies to run in order; none by default.

    A list of dicts with the fields of ``RetentionPolicy``, durations as ``timedelta`` or
    as on the command line (``30d``). Raises ``ImproperlyConfigured``.
    """
    value = _value("RETENTION", [])
    if not (isinstance(value, list | tuple) and all(isinstance(p, Mapping) for p in value)):
        raise ImproperlyConfigured(f"{NAME}['RETENTION'] must be a list of dicts, not {value!r}.")
    return [_policy(index, mapping) for index, mapping in enumerate(value)]


def _policy(index: int, mapping: Mapping[str, Any]) -> RetentionPolicy:
    try:
        return RetentionPolicy.from_mapping(mapping)
    except InvalidPolicy as error:
        raise ImproperlyConfigured(f"{NAME}['RETENTION'][{index}]: {error}.") from error


def api_owner() -> Callable[[Any], str | None] | None:
    """``API_OWNER``: the function that tells whose sessions a request may use.

    The dotted path of a function ``request -> str | None``; ``None`` by default. Raises
    ``ImproperlyConfigured``.
    """
    path = _value("API_OWNER", None)
    if path is None:
        return None
    try:
        function: Callable[[Any], str | None] = import_string(path)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"{NAME}['API_OWNER'] must be the dotted path of a function: {error}."
        ) from error
    if not callable(function):
        raise ImproperlyConfigured(f"{NAME}['API_OWNER'] = {path!r} is not a function.")
    return function


READERS: Mapping[str, Callable[[], Any]] = {
    "API_OWNER": api_owner,
    "MAX_STATE_BYTES": max_state_bytes,
    "RETENTION": retention,
}
"""Every setting by its key."""


def unknown_keys() -> list[str]:
    """Return the keys of the dict that no setting has."""
    return sorted(str(key) for key in _dict() if key not in READERS)


def malformed() -> Iterator[str]:
    """Yield what is wrong with the settings, one message each."""
    for read in READERS.values():
        try:
            read()
        except ImproperlyConfigured as error:
            yield str(error)


def _value(key: str, default: Any) -> Any:
    return _dict().get(key, default)


def _dict() -> Mapping[str, Any]:
    value = getattr(settings, NAME, {})
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dict, not {value!r}.")
    return value
