"""Build the largest and slowest checkpoints that can be saved."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    Checkpoint,
    ErrorEvent,
    Message,
    NodeScope,
    VersionedState,
    WeaveError,
)
from weavegraph_checkpoints.domain.limits import (
    BYTES_PER_CONTAINER,
    MAX_CHANNELS,
    MAX_COUNTER,
    MAX_ERROR_BYTES,
    MAX_ERROR_CAUSES,
    MAX_NAME_LENGTH,
    MAX_NAMES_BYTES,
    MAX_NODES,
    MAX_VERSIONS_SEEN,
    MAX_VERSIONS_SEEN_BYTES,
    MIN_CONTAINERS,
)

STATE_BYTES = 7 * 1024 * 1024
"""The default of ``MAX_STATE_BYTES``."""

CONTAINERS = MIN_CONTAINERS + STATE_BYTES // BYTES_PER_CONTAINER - 100
"""The most lists and objects beside messages, but for those around the values of a state."""

_BYTES = STATE_BYTES - 1024
"""Room for the values of a state; the rest is for the JSON around them."""
_WHEN = "2026-01-02T03:04:05.123456789Z"


def worst_checkpoint(kind: str, session_id: str = "worst", step: int = 1) -> Checkpoint:
    """Return a checkpoint with one of the ``WORST_STATES``, and every other column full.

    Two steps of the same kind differ in every value, so that a comparison has the most work.
    """
    columns = worst_columns(step) if step % 2 else longest_columns(step)
    return a_checkpoint(session_id, step, state=WORST_STATES[kind](step), **columns)


def worst_columns(seed: int = 0) -> dict[str, Any]:
    """Return the columns with the most nodes, channels and versions, of the shortest names."""
    nodes = [f"{seed}-{number:x}" for number in range(3 * MAX_NODES)]
    per_node = MAX_VERSIONS_SEEN // MAX_NODES - 1
    return {
        "frontier": nodes[:MAX_NODES],
        "ran_nodes": nodes[MAX_NODES : 2 * MAX_NODES],
        "skipped_nodes": nodes[2 * MAX_NODES :],
        "updated_channels": [f"{seed}-{number:x}" for number in range(MAX_CHANNELS)],
        "versions_seen": {
            f"{seed}-{number:x}": {f"{seed}-{channel}": 1 for channel in range(per_node)}
            for number in range(MAX_NODES)
        },
    }


def longest_columns(seed: int = 0) -> dict[str, Any]:
    """Return the columns with the most bytes, of the longest names, which HTML escapes."""

    def build_names(limit: int, prefix: str) -> list[str]:
        size = MAX_NAME_LENGTH + len(prefix) + len('"",')
        return [f"{number}-{seed}".ljust(MAX_NAME_LENGTH, "<") for number in range(limit // size)]

    names = build_names(MAX_NAMES_BYTES, "Custom:")
    entry = MAX_NAME_LENGTH + len('"":{},')
    version = MAX_NAME_LENGTH + len(f'"":{MAX_COUNTER},')
    return {
        "frontier": names,
        "ran_nodes": names,
        "skipped_nodes": names,
        "updated_channels": build_names(MAX_NAMES_BYTES, ""),
        "versions_seen": {
            name.ljust(MAX_NAME_LENGTH, "<"): {name: MAX_COUNTER}
            for name in build_names(
                MAX_VERSIONS_SEEN_BYTES * MAX_NAME_LENGTH // (entry + version), ""
            )
        },
    }


def many_messages(seed: int = 0) -> VersionedState:
    """Return as many messages as possible."""
    texts = [str((number + seed) % 10) for number in range(10)]
    count = _BYTES // len('{"role":"","content":"0"},')
    return VersionedState.new([Message(role="", content=texts[n % 10]) for n in range(count)])


def many_lines(seed: int = 0) -> VersionedState:
    """Return 30 messages of random lines ``a`` and ``b``."""
    random = Random(seed)
    count = _BYTES // 30 // len("a\\n") - 20
    contents = ["\n".join(random.choices("ab", k=count)) for _ in range(30)]
    return VersionedState.new([Message.user(content) for content in contents])


def one_line(seed: int = 0) -> VersionedState:
    """Return one message without spaces, of characters that HTML escapes."""
    return VersionedState.new([Message.user(f"{seed}".ljust(_BYTES, "<"))])


def many_words(seed: int = 0) -> VersionedState:
    """Return one message of random words of one letter."""
    words = Random(seed).choices("ab", k=_BYTES // 2)
    return VersionedState.new([Message.user(" ".join(words))])


def control_characters(seed: int = 0) -> VersionedState:
    """Return one message of characters that JSON and the pages escape."""
    return VersionedState.new([Message.user(f"{seed}" + "\x00" * (_BYTES // 6 - 10))])


def random_bits(seed: int = 0) -> VersionedState:
    """Return one list of random bits."""
    return VersionedState.new(extra={"bits": Random(seed).choices((0, 1), k=_BYTES // 2)})


def empty_lists(seed: int = 0) -> VersionedState:
    """Return one list of empty lists and objects, the values that take most memory."""
    values: list[Any] = [[], {}] if seed % 2 else [{}, []]
    return VersionedState.new(extra={"empty": values * (CONTAINERS // 2)})


def short_texts(seed: int = 0) -> VersionedState:
    """Return one list of texts of one character, the values that take most memory for their size.

    Python keeps one object of each Latin character only.
    """
    texts = [chr(0x4E00 + (number + seed) % 1000) for number in range(1000)]
    return VersionedState.new(extra={"texts": (texts * (_BYTES // 6000 + 1))[: _BYTES // 6]})


def many_keys(seed: int = 0) -> VersionedState:
    """Return one object of many keys."""
    count = _BYTES // len('"1234567":1,')
    keys = Random(seed).sample(range(1_000_000, 10_000_000), count)
    return VersionedState.new(extra={str(key): seed % 10 for key in keys})


def deep_values(seed: int = 0) -> VersionedState:
    """Return values of 200 levels."""

    def nest(value: Any) -> Any:
        for _ in range(197):
            value = [value]
        return [value]

    count = min(_BYTES // (2 * 198 + 2), CONTAINERS // 198)
    return VersionedState.new(extra={"deep": [nest((n + seed) % 10) for n in range(count)]})


def objects_in_lists(seed: int = 0) -> VersionedState:
    """Return many small objects below 80 nested lists."""
    random = Random(seed)
    count = min(_BYTES // len('{"a":0,"b":0},'), CONTAINERS) - 80
    value: Any = [{"a": random.randrange(2), "b": random.randrange(2)} for _ in range(count)]
    for _ in range(80):
        value = [value]
    return VersionedState.new(extra={"deep": value})


def long_integers(seed: int = 0) -> VersionedState:
    """Return integers of 4 299 digits."""
    values = [10**4298 + seed + number for number in range(_BYTES // 4300 - 1)]
    return VersionedState.new(extra={"integers": values})


def many_errors(seed: int = 0) -> VersionedState:
    """Return as many errors as possible."""
    event = ErrorEvent(error=WeaveError(message=str(seed % 10)), when=_WHEN)
    return VersionedState.new(errors=[event] * (_BYTES // 130))


def long_errors(seed: int = 0) -> VersionedState:
    """Return the largest errors: the most causes, each with a tree."""
    count = STATE_BYTES // MAX_ERROR_BYTES
    share = MAX_ERROR_BYTES // (MAX_ERROR_CAUSES + 2)
    branches = CONTAINERS // count // (MAX_ERROR_CAUSES + 2) // 2 - 4
    details = {"tree": [[{"<": seed % 10}]] * branches, "text": "<" * (share - 80 - 10 * branches)}
    error = WeaveError(message="<", details=details)
    for _ in range(MAX_ERROR_CAUSES):
        error = WeaveError(message="<", cause=error, details=details)
    event = ErrorEvent(
        error=error,
        scope=NodeScope(kind="<", step=seed),
        tags=["<"] * (share // 2 // len('"<",')),
        context=[0] * (share // 4 // 2),
        when=_WHEN,
    )
    return VersionedState.new(errors=[event] * count)


WORST_STATES: dict[str, Callable[[int], VersionedState]] = {
    build.__name__: build
    for build in (
        many_messages,
        many_lines,
        one_line,
        many_words,
        control_characters,
        random_bits,
        empty_lists,
        short_texts,
        many_keys,
        deep_values,
        objects_in_lists,
        long_integers,
        many_errors,
        long_errors,
    )
}
