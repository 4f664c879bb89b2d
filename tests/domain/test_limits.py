from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.strategies import session_ids
from weavegraph_checkpoints.domain.limits import (
    MAX_STEP,
    is_owner,
    is_session_id,
    parse_non_negative_int,
    safe_repr,
)

UNSTORABLE = [None, 1, True, b"a", ["a"], "a\0", "\ud800", "x" * 256]


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError


@given(text=session_ids())
def test_a_session_id_is_an_owner_too(text: str) -> None:
    assert is_session_id(text)
    assert is_owner(text)


def test_an_owner_may_be_empty_and_a_session_id_may_not() -> None:
    assert is_owner("")
    assert not is_session_id("")


@pytest.mark.parametrize("value", UNSTORABLE)
def test_what_no_database_can_hold_is_neither(value: Any) -> None:
    assert not is_session_id(value)
    assert not is_owner(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("é", "'\\xe9'"),
        (1.5, "1.5"),
        ("x" * 78, f"'{'x' * 78}'"),
        ("x" * 79, f"'{'x' * 76}..."),
        ("x" * 200, f"'{'x' * 76}..."),
        (10**5000, "a value of type int"),
        ([10**5000], "a value of type list"),
        (Unprintable(), "a value of type Unprintable"),
    ],
    ids=range(9),
)
def test_a_refused_value_is_shown_in_short(value: Any, text: str) -> None:
    assert safe_repr(value) == text


@pytest.mark.parametrize("value", [0, 7, 10, MAX_STEP])
def test_decimal_digits_are_parsed(value: int) -> None:
    assert parse_non_negative_int(str(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "-1", "+1", " 1", "1 ", "01", "1.0", "1e3", "1_000", "x", "٣", "²"),
        *(str(MAX_STEP + 1), "9" * 5000),
    ],
)
def test_other_text_is_no_integer(text: str | None) -> None:
    assert parse_non_negative_int(text) is None


def test_an_integer_above_the_maximum_is_refused() -> None:
    assert parse_non_negative_int("9", 9) == 9
    assert parse_non_negative_int("10", 9) is None
    assert parse_non_negative_int("0", -1) is None
