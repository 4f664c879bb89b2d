"""The setting ``WEAVEGRAPH_CHECKPOINTS``, a dict that is read at call time."""

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
DEFAULT_CHANGES_FROM_BYTES = 4096
DEFAULT_EVENTS_MAX_SECONDS = 300


def max_state_bytes() -> int | None:
    """Return ``MAX_STATE_BYTES``, the size limit of a serialized state.

    Bytes of UTF-8 JSON, 1 or more; ``None`` for no limit. The default of 7 MiB fits into
    MariaDB's default packet even if every byte is escaped. Raise ``ImproperlyConfigured``.
    """
    value = _settings().get("MAX_STATE_BYTES", DEFAULT_MAX_STATE_BYTES)
    if value is None or (type(value) is int and value > 0):
        return value
    raise ImproperlyConfigured(
        f"{NAME}['MAX_STATE_BYTES'] must be a positive number of bytes or None, not {value!r}."
    )


def changes_from_bytes() -> int | None:
    """Return ``CHANGES_FROM_BYTES``, the size from which a state is stored as changes.

    Bytes of UTF-8 JSON, 0 or more; ``None`` to store every state whole. Raise
    ``ImproperlyConfigured``.
    """
    value = _settings().get("CHANGES_FROM_BYTES", DEFAULT_CHANGES_FROM_BYTES)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise ImproperlyConfigured(
        f"{NAME}['CHANGES_FROM_BYTES'] must be a number of bytes, 0 or more, or None, not"
        f" {value!r}."
    )


def retention() -> list[RetentionPolicy]:
    """Return ``RETENTION``, the retention policies to run in order; none by default.

    The setting is a list of dicts with the fields of ``RetentionPolicy``; durations are
    ``timedelta`` or text as on the command line (``30d``). Raise ``ImproperlyConfigured``.
    """
    value = _settings().get("RETENTION", [])
    if not (isinstance(value, list | tuple) and all(isinstance(p, Mapping) for p in value)):
        raise ImproperlyConfigured(f"{NAME}['RETENTION'] must be a list of dicts, not {value!r}.")
    policies: list[RetentionPolicy] = []
    for mapping in value:
        try:
            policies.append(RetentionPolicy.from_mapping(mapping))
        except InvalidPolicy as error:
            path = f"{NAME}['RETENTION'][{len(policies)}]"
            raise ImproperlyConfigured(f"{path}: {error}.") from error
    return policies


def api_owner() -> Callable[[Any], str | None] | None:
    """Return ``API_OWNER``, the function that returns the owner for a request.

    The setting is the dotted path of a function ``request -> str | None``; ``None`` by
    default. Raise ``ImproperlyConfigured``.
    """
    path = _settings().get("API_OWNER")
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


def events_max_seconds() -> int:
    """Return ``EVENTS_MAX_SECONDS``, how long an event stream of the REST API stays open.

    Seconds, 1 or more. Raise ``ImproperlyConfigured``.
    """
    value = _settings().get("EVENTS_MAX_SECONDS", DEFAULT_EVENTS_MAX_SECONDS)
    if type(value) is int and value > 0:
        return value
    raise ImproperlyConfigured(
        f"{NAME}['EVENTS_MAX_SECONDS'] must be a positive number of seconds, not {value!r}."
    )


READERS: Mapping[str, Callable[[], Any]] = {
    "API_OWNER": api_owner,
    "CHANGES_FROM_BYTES": changes_from_bytes,
    "EVENTS_MAX_SECONDS": events_max_seconds,
    "MAX_STATE_BYTES": max_state_bytes,
    "RETENTION": retention,
}
"""The function that reads each key."""


def unknown_keys() -> list[str]:
    """Return the keys of the dict that are not settings of the app."""
    return sorted(str(key) for key in _settings() if key not in READERS)


def malformed() -> Iterator[str]:
    """Yield an error message for each invalid setting."""
    for read in READERS.values():
        try:
            read()
        except ImproperlyConfigured as error:
            yield str(error)


def _settings() -> Mapping[str, Any]:
    value = getattr(settings, NAME, {})
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dict, not {value!r}.")
    return value
