from __future__ import annotations

import copy
import pickle

import pytest

from weavegraph_checkpoints import (
    CheckpointerError,
    ConcurrencyConflict,
    InvalidCheckpoint,
    InvalidPolicy,
    InvalidQuery,
    LimitExceeded,
    SerializationError,
    SessionExists,
    SessionNotFound,
    StateTooLarge,
)

EXAMPLES = [
    SessionNotFound("run"),
    SessionNotFound("run", "has no step at or below 3"),
    SessionExists("run"),
    ConcurrencyConflict("run", 3, 4),
    SerializationError("NaN is not a JSON number", "$.state.extra.map.total"),
    InvalidCheckpoint("too high", "$.step"),
    LimitExceeded("frontier has 257 names, the limit is 256", "$.frontier"),
    StateTooLarge(2048, 1024),
    InvalidQuery("too high", "limit"),
    InvalidPolicy("no rule"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_every_error_is_a_checkpointer_error(error: CheckpointerError) -> None:
    assert isinstance(error, CheckpointerError)


@pytest.mark.parametrize(
    "kind", [SerializationError, InvalidCheckpoint, InvalidQuery, InvalidPolicy]
)
def test_refusals_of_values_are_value_errors_too(kind: type[Exception]) -> None:
    assert issubclass(kind, ValueError)


@pytest.mark.parametrize("kind", [SessionNotFound, SessionExists, ConcurrencyConflict])
def test_refusals_of_operations_are_no_value_errors(kind: type[Exception]) -> None:
    assert not issubclass(kind, ValueError)


def test_the_kinds_of_refused_values_are_apart() -> None:
    assert not issubclass(SerializationError, InvalidCheckpoint)
    assert not issubclass(InvalidQuery, InvalidCheckpoint)
    assert not issubclass(InvalidPolicy, InvalidQuery)


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_errors_survive_pickle_and_copy(error: CheckpointerError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_a_conflict_says_what_was_expected_and_what_is() -> None:
    error = ConcurrencyConflict("run", 3, 4)
    assert (error.session_id, error.expected, error.actual) == ("run", 3, 4)
    assert str(error) == "session 'run': expected last step 3, but it is 4"


def test_a_missing_session_is_named() -> None:
    assert SessionNotFound("run").session_id == "run"
    assert str(SessionNotFound("run")) == "session 'run' does not exist"
    assert str(SessionNotFound("run", "has no step")) == "session 'run' has no step"


def test_an_existing_session_is_named() -> None:
    assert SessionExists("run").session_id == "run"
    assert str(SessionExists("run")) == "session 'run' already exists"


def test_a_state_that_is_too_large_is_an_invalid_checkpoint_with_both_sizes() -> None:
    error = StateTooLarge(2048, 1024)
    assert isinstance(error, InvalidCheckpoint)
    assert (error.size, error.limit, error.path) == (2048, 1024, "$.state")
    assert "2048" in str(error)
    assert "1024" in str(error)


def test_a_refused_value_is_named_by_its_path() -> None:
    error = SerializationError("NaN is not a JSON number", "$.state.extra.map.total")
    assert error.path == "$.state.extra.map.total"
    assert str(error) == "NaN is not a JSON number (at $.state.extra.map.total)"
