from __future__ import annotations

import os
import subprocess

import pytest

from weavegraph_checkpoints.domain.escaping import escape_direction_chars, quote_shell_word


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a b",
        "it's",
        "日本 😀",
        "\u202e'\\\n\t$x`",
        "\x1b[31m\x7f\x9b\U000e0001",
        "\\u202e\u2028",
    ],
)
def test_a_word_reaches_a_command_of_bash_unchanged(text: str) -> None:
    word = quote_shell_word(text)
    assert word.isprintable()
    printed = subprocess.run(
        ["bash", "-c", f"printf %s {word}"],
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )
    assert printed.stdout.decode() == text


def test_characters_that_set_a_direction_are_escaped() -> None:
    assert escape_direction_chars("a\0\u202a\u202e\u2066\u2069é\n") == (
        r"a\u0000\u202a\u202e\u2066\u2069é" "\n"
    )
