"""The first SIGINT ends a command between two batches, the second at once."""

from __future__ import annotations

import signal
import threading
from io import StringIO
from typing import Any

import pytest

from weavegraph_checkpoints.management.base import CheckpointCommand


class Command(CheckpointCommand):
    def run(self, **options: Any) -> int:
        return 0


@pytest.fixture
def command() -> Command:
    command = Command(stderr=StringIO(), no_color=True)
    command.verbosity = 1
    return command


def test_the_first_is_noted_and_raised_when_checked(command: Command) -> None:
    with command.interruptible():
        command.check_interrupt()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            command.check_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not command.interrupted


def test_progress_checks(command: Command) -> None:
    reached = []
    with command.interruptible(), command.progress("steps") as progress:
        signal.raise_signal(signal.SIGINT)
        reached.append("after SIGINT")
        progress.update(1)
        reached.append("after update")
    assert reached == ["after SIGINT"]
    assert command.interrupted
    assert command.stderr.getvalue() == "interrupted: run the command again to continue\n"
    with command.interruptible():
        command.check_interrupt()
    assert not command.interrupted


def test_the_second_interrupts_at_once(command: Command) -> None:
    with command.interruptible(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_the_handler_of_others_stays(command: Command) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with command.interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            signal.raise_signal(signal.SIGINT)
            command.check_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_nothing(command: Command) -> None:
    handlers = []

    def work() -> None:
        with command.interruptible():
            handlers.append(signal.getsignal(signal.SIGINT))
            command.check_interrupt()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
