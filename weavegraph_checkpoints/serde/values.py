"""Check that Python values are JSON, and build the JSON document of a state."""

from __future__ import annotations

from math import isfinite
from typing import Any

from weavegraph_checkpoints.domain.limits import (
    MAX_COUNTER,
    MAX_ERROR_CAUSES,
    is_integer,
    safe_repr,
)
from weavegraph_checkpoints.domain.paths import join_json_path
from weavegraph_checkpoints.domain.state import (
    AppScope,
    ErrorEvent,
    ErrorsChannel,
    ExtrasChannel,
    Message,
    MessagesChannel,
    NodeScope,
    RunnerScope,
    SchedulerScope,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.exceptions import SerializationError

MAX_LEVELS = 200

# CPython and msgspec parse integers of up to 4 299 digits by default.
_INTEGER_BOUND = 10**4299
_TEXT_KINDS = {str, bool, type(None)}
_MIN_FLAT_LENGTH = 16


class _Refused(Exception):
    """A value is not JSON; ``keys`` is the path to it, innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.keys: list[str | int] = []


def state_document(state: VersionedState) -> dict[str, Any]:
    """Return the JSON document of a state, for msgspec's encoder."""
    return {
        "messages": state.messages,
        "extra": state.extra,
        "errors": {
            "version": state.errors.version,
            "items": [event_document(event) for event in state.errors.items],
        },
    }


def check_state(state: VersionedState, path: str) -> None:
    """Raise ``SerializationError`` for the first value in a state that is not JSON.

    Lone surrogates are not checked: the encoder raises for them.
    """
    check_channels(state, path)
    for message in state.messages.items:
        if (
            type(message) is not Message
            or type(message.role) is not str
            or type(message.content) is not str
        ):
            _check_messages(state.messages.items, f"{path}.messages.items")
    check_value(state.extra.map, f"{path}.extra.map")
    for position, event in enumerate(state.errors.items):
        check_event(event, f"{path}.errors.items[{position}]")


def check_channels(state: VersionedState, path: str) -> None:
    """Raise ``SerializationError`` for a channel of the wrong type."""
    _check_type(state.messages, MessagesChannel, f"{path}.messages")
    _check_type(state.extra, ExtrasChannel, f"{path}.extra")
    _check_type(state.errors, ErrorsChannel, f"{path}.errors")


def check_value(value: object, path: str, levels: int = MAX_LEVELS) -> None:
    """Raise ``SerializationError`` with the path of the first value that is not JSON.

    JSON values are ``dict`` with ``str`` keys, ``list``, ``tuple``, ``str``, ``int`` of up
    to 4 299 digits, finite ``float``, ``bool`` and ``None``, but no subclasses of them,
    nested up to ``levels`` deep.
    """
    try:
        _check(value, levels)
    except _Refused as refused:
        for key in reversed(refused.keys):
            path = join_json_path(path, key)
        raise SerializationError(str(refused), path) from None


def _check(value: object, levels: int) -> None:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is dict or kind is list or kind is tuple:
        if levels == 0:
            raise _Refused("nested too deep")
        _check_container(value, levels - 1)
    elif kind is int:
        if not -_INTEGER_BOUND < value < _INTEGER_BOUND:  # type: ignore[operator]
            raise _Refused("an integer of more than 4299 digits")
    elif kind is float:
        if not isfinite(value):  # type: ignore[arg-type]
            raise _Refused(f"{value} is not a JSON number")
    else:
        raise _Refused(f"JSON cannot hold a {kind.__module__}.{kind.__qualname__}")


def _is_long_and_flat(container: Any) -> bool:
    """Return whether a container has so many values that are checked at once, and are valid."""
    if len(container) < _MIN_FLAT_LENGTH:
        return False
    values = container
    if type(container) is dict:
        if set(map(type, container)) != {str}:
            return False
        values = container.values()
    kinds = set(map(type, values))
    if kinds <= {int, bool}:
        return bool(min(values) > -_INTEGER_BOUND and max(values) < _INTEGER_BOUND)
    return kinds <= _TEXT_KINDS or (kinds == {float} and all(map(isfinite, values)))


def _check_container(container: Any, levels: int) -> None:
    if _is_long_and_flat(container):
        return
    entries = container.items() if type(container) is dict else enumerate(container)
    keyed = type(container) is dict
    for key, item in entries:
        if keyed and type(key) is not str:
            raise _Refused(f"a key of an object must be text, not {safe_repr(key)}")
        kind = type(item)
        if kind is str or kind is bool or item is None:
            continue
        if kind is int and -_INTEGER_BOUND < item < _INTEGER_BOUND:
            continue
        try:
            _check(item, levels)
        except _Refused as refused:
            refused.keys.append(key)
            raise


def _check_messages(messages: tuple[Message, ...], path: str) -> None:
    for position, message in enumerate(messages):
        _check_type(message, Message, f"{path}[{position}]")
        _check_type(message.role, str, f"{path}[{position}].role")
        _check_type(message.content, str, f"{path}[{position}].content")


def check_event(event: ErrorEvent, path: str) -> None:
    """Raise ``SerializationError`` for the first value in an error that is not JSON."""
    _check_type(event, ErrorEvent, path)
    _check_scope(event.scope, f"{path}.scope")
    for position, tag in enumerate(event.tags):
        _check_type(tag, str, f"{path}.tags[{position}]")
    check_value(event.context, f"{path}.context")
    error = event.error
    path = f"{path}.error"
    for _ in range(MAX_ERROR_CAUSES + 1):
        _check_type(error, WeaveError, path)
        _check_type(error.message, str, f"{path}.message")
        check_value(error.details, f"{path}.details")
        if error.cause is None:
            return
        error = error.cause
        path = f"{path}.cause"
    raise SerializationError(f"a chain of more than {MAX_ERROR_CAUSES} causes", path)


def _check_scope(scope: object, path: str) -> None:
    if type(scope) not in (NodeScope, SchedulerScope, RunnerScope, AppScope):
        raise SerializationError(f"not a scope of an error: {safe_repr(scope)}", path)
    if isinstance(scope, NodeScope):
        _check_type(scope.kind, str, f"{path}.kind")
    if isinstance(scope, RunnerScope):
        _check_type(scope.session, str, f"{path}.session")
    if not isinstance(scope, AppScope):
        step = scope.step  # type: ignore[attr-defined]
        if not is_integer(step, MAX_COUNTER):
            raise SerializationError(
                f"expected an integer from 0 to {MAX_COUNTER}, not {safe_repr(step)}",
                f"{path}.step",
            )


def _check_type(value: object, expected: type, path: str) -> None:
    if type(value) is not expected:
        name = type(value).__name__
        raise SerializationError(f"expected {expected.__name__}, not {name}", path)


def event_document(event: ErrorEvent) -> dict[str, Any]:
    """Return the JSON document of an error, for msgspec's encoder."""
    return {
        "when": event.when,
        "scope": event.scope,
        "error": _error_document(event.error),
        "tags": event.tags,
        "context": event.context,
    }


def _error_document(error: WeaveError) -> dict[str, Any]:
    document: dict[str, Any] = {"message": error.message}
    if error.cause is not None:
        document["cause"] = _error_document(error.cause)
    document["details"] = error.details
    return document
