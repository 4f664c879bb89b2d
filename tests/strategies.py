"""Hypothesis strategies for checkpoints and their values, and builders of examples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from weavegraph_checkpoints import (
    AppScope,
    Checkpoint,
    ErrorEvent,
    ErrorsChannel,
    ErrorScope,
    ExtrasChannel,
    Message,
    MessagesChannel,
    NodeKind,
    NodeScope,
    RunnerScope,
    SchedulerScope,
    VersionedState,
    VersionsSeen,
    WeaveError,
)

MAX_STEP = 2**63 - 1
MAX_VERSION = 2**32 - 1
MAX_COUNTER = 2**64 - 1
LONGEST_INTEGER = 10**4299 - 1

EDGE_INTEGERS = (
    0,
    1,
    -1,
    2**53 + 1,
    -(2**63),
    2**63,
    2**64 - 1,
    2**64,
    10**22,
    LONGEST_INTEGER,
    -LONGEST_INTEGER,
)
EDGE_FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    1e16,
    1e22,
    1e23,
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    2.225073858507201e-308,
    1.7976931348623157e308,
    -1.7976931348623157e308,
    9007199254740993.0,
)
EDGE_TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\x1f\x7f\x85\u2028\u2029",
    "\ufeff",
    "\uffff",
    "\U0010ffff",
    "\\u0000",
    "\"'\\/\b\f\n\r\t",
    "日本語",
    "العربية",
    "👩‍👩‍👧",
    "e\u0301",
    "Infinity",
    "null",
    "__proto__",
    "$type",
)


def text(*, max_size: int = 20) -> st.SearchStrategy[str]:
    """Return any text that UTF-8 can encode, including U+0000."""
    return st.sampled_from(EDGE_TEXTS) | st.text(max_size=max_size)


def storable_text(*, min_size: int = 0, max_size: int = 20) -> st.SearchStrategy[str]:
    """Return any text without U+0000 and lone surrogates."""
    alphabet = st.characters(codec="utf-8", exclude_characters="\0")
    return st.text(alphabet, min_size=min_size, max_size=max_size)


def session_ids() -> st.SearchStrategy[str]:
    """Return ids of 1 to 255 characters."""
    awkward = ["a", "A", "á", "a ", "a/b", "..", "100%", "日本", "😀", "'\"", "x" * 255, "😀" * 255]
    return st.sampled_from(awkward) | storable_text(min_size=1, max_size=255)


def node_names() -> st.SearchStrategy[str]:
    """Return names of custom nodes."""
    awkward = ["", "Start", "End", "Custom:", "Custom:Start", "a:b", "50%", "a_b", "'\"", "plan"]
    return st.sampled_from(awkward) | storable_text()


def node_kinds() -> st.SearchStrategy[NodeKind]:
    """Return nodes of every kind."""
    return st.sampled_from([NodeKind.START, NodeKind.END]) | st.builds(
        NodeKind.custom, node_names()
    )


def nodes() -> st.SearchStrategy[tuple[NodeKind, ...]]:
    """Return a frontier, or nodes that ran or were skipped."""
    return st.lists(node_kinds(), max_size=4).map(tuple)


def within(maximum: int) -> st.SearchStrategy[int]:
    """Return integers from 0 to ``maximum``."""
    return st.sampled_from([0, 1, maximum - 1, maximum]) | st.integers(0, maximum)


def versions_seen() -> st.SearchStrategy[VersionsSeen]:
    """Return versions seen; the keys are any storable text."""
    keys = st.sampled_from(['Custom("plan")', "p q", "Custom:plan"]) | storable_text()
    counters = st.dictionaries(keys, within(MAX_COUNTER), max_size=3)
    return st.dictionaries(keys, counters, max_size=3)


def json_integers() -> st.SearchStrategy[int]:
    """Return integers of up to 4 299 digits."""
    long = st.builds(
        lambda sign, digits, less: sign * (10**digits - 1 - less),
        st.sampled_from([-1, 1]),
        st.integers(20, 4299),
        st.integers(0, 10**18),
    )
    return st.sampled_from(EDGE_INTEGERS) | st.integers() | long


def json_floats() -> st.SearchStrategy[float]:
    """Return every finite float."""
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return st.sampled_from(EDGE_FLOATS) | finite


def json_scalars() -> st.SearchStrategy[Any]:
    """Return JSON scalars."""
    return st.none() | st.booleans() | json_integers() | json_floats() | text()


def json_values(*, tuples: bool = True, max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Return any JSON value; with tuples as well as lists if ``tuples`` is true."""

    def containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(items, max_size=4)
        objects = st.dictionaries(text(), items, max_size=4)
        return lists | objects | lists.map(tuple) if tuples else lists | objects

    return st.recursive(json_scalars(), containers, max_leaves=max_leaves)


def json_objects(*, tuples: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Return the free values of ``extra.map``."""
    return st.dictionaries(text(), json_values(tuples=tuples), max_size=3)


def timezones() -> st.SearchStrategy[timezone]:
    """Return fixed offsets of whole minutes."""
    return st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def instants() -> st.SearchStrategy[datetime]:
    """Return aware datetimes that are between the years 1 and 9999 in UTC."""
    return st.datetimes(
        min_value=datetime(1, 1, 2),
        max_value=datetime(9999, 12, 30),
        timezones=st.just(UTC) | timezones(),
    )


def when_texts() -> st.SearchStrategy[str]:
    """Return RFC 3339 timestamps in UTC, with 0 to 12 fractional digits."""
    fractions = st.just("") | st.from_regex(r"\.[0-9]{1,12}", fullmatch=True)
    seconds = instants().map(lambda instant: instant.astimezone(UTC).strftime("%m-%dT%H:%M:%S"))
    leap_years = st.integers(1, 2499).map(lambda n: 4 * n).filter(lambda year: year % 100 != 0)
    return st.builds("{:04d}-{}{}Z".format, leap_years, seconds, fractions)


def messages() -> st.SearchStrategy[Message]:
    """Return messages of any role."""
    roles = st.sampled_from(["user", "assistant", "system", "tool"]) | text()
    return st.builds(Message, role=roles, content=text())


def weave_errors() -> st.SearchStrategy[WeaveError]:
    """Return errors with chains of up to three causes."""
    values = json_values(max_leaves=4)
    error = st.builds(WeaveError, message=text(), details=values)
    for _ in range(3):
        error = st.builds(WeaveError, message=text(), cause=st.none() | error, details=values)
    return error


def error_scopes() -> st.SearchStrategy[ErrorScope]:
    """Return scopes of the four kinds."""
    steps = within(MAX_COUNTER)
    return (
        st.just(AppScope())
        | st.builds(NodeScope, kind=text(), step=steps)
        | st.builds(SchedulerScope, step=steps)
        | st.builds(RunnerScope, session=text(), step=steps)
    )


def error_events() -> st.SearchStrategy[ErrorEvent]:
    """Return errors with their scope, tags, context and instant."""
    return st.builds(
        ErrorEvent,
        error=weave_errors(),
        scope=error_scopes(),
        tags=st.lists(text(), max_size=3).map(tuple),
        context=json_values(max_leaves=4),
        when=when_texts() | instants(),
    )


def states() -> st.SearchStrategy[VersionedState]:
    """Return states with values in all three channels."""
    versions = within(MAX_VERSION)
    return st.builds(
        VersionedState,
        messages=st.builds(
            MessagesChannel, version=versions, items=st.lists(messages(), max_size=3)
        ),
        extra=st.builds(ExtrasChannel, version=versions, map=json_objects()),
        errors=st.builds(
            ErrorsChannel, version=versions, items=st.lists(error_events(), max_size=2)
        ),
    )


def checkpoints() -> st.SearchStrategy[Checkpoint]:
    """Return any checkpoint."""
    return st.builds(
        Checkpoint,
        session_id=session_ids(),
        step=within(MAX_STEP),
        state=states(),
        frontier=nodes(),
        versions_seen=versions_seen(),
        concurrency_limit=within(MAX_STEP),
        created_at=instants(),
        ran_nodes=nodes(),
        skipped_nodes=nodes(),
        updated_channels=st.lists(storable_text(), max_size=3),
    )


def a_checkpoint(session_id: str = "session", step: int = 1, **fields: Any) -> Checkpoint:
    """Return a small checkpoint; ``fields`` replace its defaults."""
    small: dict[str, Any] = {
        "state": VersionedState.new_with_user_message("hello"),
        "frontier": ["plan"],
        "versions_seen": {"Custom:plan": {"messages": 1}},
        "created_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    }
    return Checkpoint(session_id=session_id, step=step, **(small | fields))


def an_error_event(**fields: Any) -> ErrorEvent:
    """Return an error with a value in every field; ``fields`` replace its defaults."""
    full: dict[str, Any] = {
        "error": WeaveError(
            message="connect timed out",
            cause=WeaveError(message="dns", details={"host": "example.test", "tries": 3}),
        ),
        "scope": NodeScope(kind="Custom:fetch", step=3),
        "tags": ["network", "retry"],
        "context": {"attempt": 3, "ratio": 0.1},
        "when": "2026-01-02T03:04:05.123456789Z",
    }
    return ErrorEvent(**(full | fields))


def a_full_checkpoint(**fields: Any) -> Checkpoint:
    """Return a checkpoint with a value in every field and an error of every scope."""
    events = [
        an_error_event(),
        an_error_event(scope=SchedulerScope(step=4), context=None, tags=[]),
        an_error_event(scope=RunnerScope(session="session", step=5), context=[1, "two", None]),
        an_error_event(scope=AppScope(), error=WeaveError(message="", details=[0.5])),
    ]
    full: dict[str, Any] = {
        "state": VersionedState(
            messages=MessagesChannel(
                version=3, items=[Message.user("go"), Message.assistant("gone ✓")]
            ),
            extra=ExtrasChannel(version=4, map={"": None, "a b": [1, 1.0, True, {"deep": []}]}),
            errors=ErrorsChannel(version=5, items=events),
        ),
        "frontier": [NodeKind.START, "plan", NodeKind.END],
        "versions_seen": {"p q": {"z": MAX_COUNTER, "extra": 0}, 'Custom("plan")': {}},
        "concurrency_limit": 7,
        "ran_nodes": [NodeKind.START],
        "skipped_nodes": ["Start:er", "End"],
        "updated_channels": ["messages", "extra"],
    }
    return a_checkpoint(**(full | fields))
