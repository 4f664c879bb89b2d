"""Output streams that never end the work of a command."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from django.core.management.base import OutputWrapper


class SafeOutput(OutputWrapper):
    """A stream that escapes what it cannot encode, and drops what it cannot write.

    A character that the encoding lacks is written as its escape, such as ``\\U0001f600``. The
    first error of a closed pipe, a full disk or a closed file is kept in ``error``; what is
    written afterwards is dropped.
    """

    def __init__(self, wrapper: OutputWrapper) -> None:
        out: Any = wrapper._out
        # A process that was started without a standard stream has ``None`` for it.
        self._out = io.StringIO() if out is None else out
        self._style_func = wrapper._style_func
        self.ending = wrapper.ending
        self.error: Exception | None = None

    def write(  # type: ignore[override]
        self, msg: str = "", style_func: Any = None, ending: str | None = None
    ) -> None:
        """Write ``msg``; see Django's ``OutputWrapper``."""
        ending = self.ending if ending is None else ending
        if ending and not msg.endswith(ending):
            msg += ending
        self.write_text((style_func or self._style_func)(msg))

    def write_text(self, text: str) -> None:
        """Write ``text`` without an ending or a style."""
        if self.error is not None:
            return
        try:
            try:
                self._out.write(text)
            except UnicodeEncodeError:
                encoding = getattr(self._out, "encoding", None) or "ascii"
                self._out.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:
            self.error = error

    def flush(self) -> None:
        """Write what the stream has buffered."""
        if self.error is not None:
            return
        try:
            super().flush()
        except (OSError, ValueError) as error:
            self.error = error


class BarOutput:
    """The stream of a progress bar, which writes no whole lines."""

    def __init__(self, output: SafeOutput) -> None:
        self.output = output
        self.write = output.write_text

    def __getattr__(self, name: str) -> Any:
        return getattr(self.output, name)


def discard_unwritable_output() -> None:
    """Redirect each standard stream that cannot be flushed to the null device.

    Python would otherwise report the error as it exits, and change the exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except AttributeError:
            continue
        except (OSError, ValueError):
            _redirect_to_null(stream)


def _redirect_to_null(stream: Any) -> None:
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return
