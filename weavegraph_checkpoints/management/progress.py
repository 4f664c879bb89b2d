"""Says how far long work has come: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from django.core.management.base import OutputWrapper
from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Shows a count that rises, with its rate and the time left where ``total`` is known.

    On a terminal it draws a bar on ``stream``, elsewhere it writes a line every few
    seconds, and at ``verbosity`` 0 nothing.
    """

    def __init__(
        self,
        stream: OutputWrapper,
        *,
        unit: str,
        verbosity: int,
        total: int | None = None,
    ) -> None:
        self.stream = stream
        self.unit = unit
        self.silent = verbosity == 0
        self.count = 0
        self._bar: tqdm[Any] | None = None
        if stream.isatty() and not self.silent:
            self._bar = tqdm(total=total, unit=f" {unit}", file=stream, leave=False)
        self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    def update(self, count: int) -> None:
        """Say that ``count`` is reached."""
        step, self.count = count - self.count, count
        if self._bar is not None:
            self._bar.update(step)
        elif not self.silent and time.monotonic() >= self._next_line:
            self.stream.write(f"{count:,} {self.unit} so far")
            self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar away while something else is written to the terminal."""
        with tqdm.external_write_mode(file=self.stream):
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
