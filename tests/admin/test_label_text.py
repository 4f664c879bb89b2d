"""The text of labels: what is formatted is parsed, and bad text is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_labels import VALUES
from tests.strategies import storable_text
from weavegraph_checkpoints.admin.labels import format_label, parse_lines, parse_terms
from weavegraph_checkpoints.exceptions import InvalidLabel

VALUE = st.sampled_from(VALUES) | storable_text(max_size=255)


@given(value=VALUE)
def test_what_is_formatted_is_parsed(value: str) -> None:
    text = format_label("key", value)
    assert text.isprintable()
    assert parse_terms(f"  {text} other=1 ") == [("key", value), ("other", "1")]
    assert parse_lines(f"\r\n{text}\r\nother=1\n") == [("key", value), ("other", "1")]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=1", [("a", "1")]),
        ("a=1 b=2", [("a", "1"), ("b", "2")]),
        ("a=", [("a", "")]),
        ("a= b=", [("a", ""), ("b", "")]),
        ("a=b=c", [("a", "b=c")]),
        ('a="b c"\tb=1', [("a", "b c"), ("b", "1")]),
        (r'a="\u00e9\""', [("a", 'é"')]),
        *[
            (text, None)
            for text in (
                "",
                " ",
                "run-1",
                "a=1 run-1",
                "=1",
                "a b=1",
                'a="b',
                'a="b"c',
                r'a="\x"',
                r'a="\ud800"',
                r'a="\u0000"',
                "a=" + "x" * 256,
                "é=1",
                "k" * 64 + "=1",
                " ".join(f"k{number}=" for number in range(65)),
            )
        ],
    ],
)
def test_terms(text: str, pairs: list[tuple[str, str]] | None) -> None:
    assert parse_terms(text) == pairs


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("\n\r\n \n", []),
        ("a = two words \nb=", [("a", "two words"), ("b", "")]),
        ('a=" x "', [("a", " x ")]),
        ("a=1\u2028", [("a", "1")]),
        ('a=x"y', [("a", 'x"y')]),
    ],
)
def test_lines(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_lines(text) == pairs


@pytest.mark.parametrize("line", ["a", "=1", "a b=1", 'a="b', 'a="b" c', "a=" + "x" * 256])
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(InvalidLabel) as caught:
        parse_lines(f"fine=1\n{line}")
    assert caught.value.path == line


def test_long_texts_are_parsed_in_linear_time() -> None:
    for text in ("a" * 100_000, 'a="' + "\\" * 100_000, "a=1 " * 20_000, " " * 100_000):
        parse_terms(text)
        with pytest.raises(InvalidLabel):
            parse_lines(f"{text} =")
