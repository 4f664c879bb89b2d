"""Start writers, receive their reports, kill them, and start replacements."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from tests.forkserver import forkserver_context
from tests.torture.journal import Call, Journal

TIMEOUT_SECONDS = 120


@dataclass
class Child:
    """A writer process, and the call that it is making."""

    slot: int
    process: BaseProcess
    pipe: Connection
    call: Call | None = None


@dataclass
class Supervisor:
    """Run ``writers`` processes, and record their calls in ``journal``.

    They share ``databases``, the nodes of a cluster, evenly; each stays with its own.
    """

    databases: Sequence[dict[str, Any]]
    writers: int
    seed: int
    journal: Journal = field(default_factory=Journal)
    started: int = 0
    killed: int = 0
    children: dict[Connection, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.context = forkserver_context()

    def __enter__(self) -> Self:
        for slot in range(self.writers):
            self.start(slot)
        return self

    def __exit__(self, *error: object) -> None:
        for child in self.children.values():
            child.process.kill()
            child.process.join(TIMEOUT_SECONDS)
            child.pipe.close()

    def start(self, slot: int) -> None:
        from tests.torture import writer

        ours, theirs = self.context.Pipe()
        database = self.databases[slot % len(self.databases)]
        task = writer.Task(number=self.started, slot=slot, seed=self.seed, database=database)
        process = self.context.Process(target=writer.run, args=(task, theirs), daemon=True)
        process.start()
        theirs.close()
        self.started += 1
        self.children[ours] = Child(slot, process, ours)

    def receive(self, seconds: float) -> None:
        """Record the reports of the writers for some seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._receive_once(left)

    def wait_for_saves(self, saves: int) -> None:
        """Record the reports of the writers until ``saves`` saves have returned in total."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        before = self.journal.acknowledged
        while self.journal.acknowledged < saves:
            self._receive_once(1)
            if self.journal.acknowledged > before:
                before, deadline = self.journal.acknowledged, time.monotonic() + TIMEOUT_SECONDS
            assert time.monotonic() < deadline, self.journal.failures[-9:]

    def kill(self, count: int) -> None:
        """Kill ``count`` writers with SIGKILL at once, and start replacements."""
        doomed = self.random.sample(list(self.children.values()), count)
        for child in doomed:
            child.process.kill()
        for child in doomed:
            child.process.join(TIMEOUT_SECONDS)
            assert child.process.exitcode == -signal.SIGKILL, child.process.exitcode
            self._drain(child)
            self.killed += 1
        for child in doomed:
            self.start(child.slot)

    def stop(self) -> None:
        """Let each writer finish its call and exit."""
        for pipe in self.children:
            pipe.send("stop")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.children:
            self._receive_once(1)
            assert time.monotonic() < deadline, "a writer does not exit"

    def _receive_once(self, seconds: float) -> None:
        for pipe in wait(list(self.children), seconds):
            assert isinstance(pipe, Connection)
            child = self.children[pipe]
            message = pipe.recv()
            self._record(child, message)
            if message == ("bye",):
                child.process.join(TIMEOUT_SECONDS)
                pipe.close()
                del self.children[pipe]

    def _drain(self, child: Child) -> None:
        """Record the remaining reports of a killed writer, and its interrupted call."""
        with suppress(EOFError, OSError):
            while True:
                self._record(child, child.pipe.recv())
        child.pipe.close()
        del self.children[child.pipe]
        if child.call is not None:
            self.journal.interrupt(child.call)

    def _record(self, child: Child, message: tuple[Any, ...]) -> None:
        if message[0] == "begin":
            _, kind, session_id, details, begun = message
            child.call = Call(kind, session_id, child.slot, begun=begun, **details)
            self.journal.begin(child.call)
        elif message[0] == "end":
            assert child.call is not None
            self.journal.end(child.call, *message[1:])
            child.call = None
        elif message[0] == "log":
            self.journal.warnings.append(message[1])
        elif message[0] == "fault":
            self.journal.resumed.append(message[1])
