"""Starts writers, listens to them, kills them, and starts others in their place."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

from tests.forked import processes
from tests.torture.journal import Call, Journal

STUCK_AFTER_SECONDS = 120


@dataclass
class Child:
    """A writer, and the call that it is in."""

    slot: int
    process: BaseProcess
    pipe: Connection
    call: Call | None = None


@dataclass
class Supervisor:
    """Keeps so many writers at work on a database."""

    database: dict[str, Any]
    writers: int
    seed: int
    journal: Journal = field(default_factory=Journal)
    started: int = 0
    killed: int = 0
    children: dict[Connection, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.processes = processes()

    def __enter__(self) -> Self:
        for slot in range(self.writers):
            self.start(slot)
        return self

    def __exit__(self, *error: object) -> None:
        for child in self.children.values():
            child.process.kill()
            child.process.join(STUCK_AFTER_SECONDS)
            child.pipe.close()

    def start(self, slot: int) -> None:
        from tests.torture import writer

        ours, theirs = self.processes.Pipe()
        task = writer.Task(number=self.started, slot=slot, seed=self.seed, database=self.database)
        process = self.processes.Process(target=writer.run, args=(task, theirs), daemon=True)
        process.start()
        theirs.close()
        self.started += 1
        self.children[ours] = Child(slot, process, ours)

    def listen(self, seconds: float) -> None:
        """Write down what the writers tell in the next moment."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._hear(left)

    def listen_to(self, saves: int) -> None:
        """Write down what the writers tell until so many saves have returned."""
        deadline = time.monotonic() + STUCK_AFTER_SECONDS
        before = self.journal.acknowledged
        while self.journal.acknowledged < saves:
            self._hear(1)
            if self.journal.acknowledged > before:
                before, deadline = self.journal.acknowledged, time.monotonic() + STUCK_AFTER_SECONDS
            assert time.monotonic() < deadline, self.journal.failures[-9:]

    def kill(self, count: int) -> None:
        """Kill some writers with SIGKILL at one moment, and start others."""
        doomed = self.random.sample(list(self.children.values()), count)
        for child in doomed:
            child.process.kill()
        for child in doomed:
            child.process.join(STUCK_AFTER_SECONDS)
            assert child.process.exitcode == -signal.SIGKILL, child.process.exitcode
            self._drain(child)
            self.killed += 1
        for child in doomed:
            self.start(child.slot)

    def stop(self) -> None:
        """Let every writer finish its call and end."""
        for pipe in self.children:
            pipe.send("stop")
        deadline = time.monotonic() + STUCK_AFTER_SECONDS
        while self.children:
            self._hear(1)
            assert time.monotonic() < deadline, "a writer does not end"

    def _hear(self, seconds: float) -> None:
        for pipe in wait(list(self.children), seconds):
            assert isinstance(pipe, Connection)
            child = self.children[pipe]
            message = pipe.recv()
            self._note(child, message)
            if message == ("bye",):
                child.process.join(STUCK_AFTER_SECONDS)
                pipe.close()
                del self.children[pipe]

    def _drain(self, child: Child) -> None:
        """Read what a killed writer still told, and write down the call that it was in."""
        with suppress(EOFError, OSError):
            while True:
                self._note(child, child.pipe.recv())
        child.pipe.close()
        del self.children[child.pipe]
        if child.call is not None:
            self.journal.interrupt(child.call)

    def _note(self, child: Child, message: tuple[Any, ...]) -> None:
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
