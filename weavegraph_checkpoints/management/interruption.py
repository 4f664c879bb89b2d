"""Lets SIGINT end long work between two batches."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """Inside this block SIGINT is noted, and ``check`` raises ``KeyboardInterrupt`` for it.

    A second SIGINT raises it at once, wherever the work is. Outside the main thread, and
    where SIGINT is ignored or handled by others, nothing changes.
    """

    def __init__(self) -> None:
        self._noted = False
        self._installed = False

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` when SIGINT has come."""
        if self._noted:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.check()
        self._noted = True

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
