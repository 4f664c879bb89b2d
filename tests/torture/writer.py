"""A process that saves, forks, deletes and prunes until it is killed, and reports each call."""

from __future__ import annotations

import logging
import random
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import django

django.setup()

from django.db import (  # noqa: E402
    Error,
    OperationalError,
    close_old_connections,
    connections,
    transaction,
)

from tests.forkserver import use_database  # noqa: E402
from tests.torture.content import build_checkpoint, get_token  # noqa: E402
from tests.torture.journal import (  # noqa: E402
    DEADLOCK,
    DONE,
    FAILED,
    MERGE_LABELS,
    REFUSED,
    REPLACE_LABELS,
    UNREAD_TRIGGER,
)
from tests.torture.labels import LABELLED, build_labels  # noqa: E402
from weavegraph_checkpoints import Checkpoint, CheckpointerError  # noqa: E402
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer  # noqa: E402
from weavegraph_checkpoints.domain.retention import RetentionPolicy  # noqa: E402
from weavegraph_checkpoints.pruning import prune  # noqa: E402
from weavegraph_checkpoints.retries import is_transient  # noqa: E402

CHAINS, FREE, SHORT, PRUNED = 4, 2, 3, 2
FREE_STEPS = 100
KEEP_LAST = 10
RECONNECT_PAUSE_SECONDS = 0.02
NOT_PREPARED = 1047
"""The error of a node of a cluster that refuses statements."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The number of a writer, and the database that it writes to."""

    number: int
    slot: int
    seed: int
    database: dict[str, Any]


def describe(error: Error) -> str:
    """Return whether it is a deadlock, the class of an expected error, or all of another."""
    if UNREAD_TRIGGER in str(error):
        return UNREAD_TRIGGER
    if not isinstance(error, OperationalError):
        return repr(error)
    is_deadlock = is_transient(error) and error.args[0] != NOT_PREPARED
    return DEADLOCK if is_deadlock else type(error).__name__


class LogForwarder(logging.Handler):
    """Send the log messages of the app to the supervisor."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self.pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self.pipe.send(("log", record.getMessage()))


def run(task: Task, pipe: Connection) -> None:
    """Run a writer until the supervisor sends ``stop``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_database(task.database)
    logging.getLogger("weavegraph_checkpoints").addHandler(LogForwarder(pipe))
    Writer(task, pipe).run()


class Writer:
    """Make random calls, and report each before it begins and after it has returned."""

    def __init__(self, task: Task, pipe: Connection) -> None:
        self.task = task
        self.pipe = pipe
        self.random = random.Random(f"{task.seed}/{task.number}")
        self.checkpointer = DjangoCheckpointer()
        self.calls = 0
        self.own = f"own/{task.slot}"
        self.last: int | None = None
        self.forks: list[str] = []
        self.actions: list[Callable[[], None]] = [self.advance_own]
        self.weights = [30]
        for weight, action in (
            (15, self.advance_chain),
            (20, self.save_free),
            (15, self.save_short),
            (10, self.save_pruned),
            (1, self.prune),
            (2, self.delete),
            (2, self.fork),
            (2, self.delete_fork),
            (3, self.label),
        ):
            self.actions.append(action)
            self.weights.append(weight)

    def run(self) -> None:
        while not self.pipe.poll():
            self.random.choices(self.actions, self.weights)[0]()
        connections.close_all()
        self.pipe.send(("bye",))

    def advance_own(self) -> None:
        """Add a step, checked, to the session that only the writers of this slot use."""
        if self.last is None:
            self.last = self.newest(self.own)
        if self.last is not None:
            saved = self.save(self.own, self.last + 1, expected=self.last)
            self.last = self.last + 1 if saved else None

    def advance_chain(self) -> None:
        """Add a step, checked, to a session that all writers use."""
        session_id = f"chain/{self.random.randrange(CHAINS)}"
        last = self.newest(session_id)
        if last is not None:
            self.save(session_id, last + 1, expected=last)

    def save_free(self) -> None:
        """Save a random step, which may replace that of another writer."""
        session_id = f"free/{self.random.randrange(FREE)}"
        self.save(session_id, self.random.randrange(FREE_STEPS))

    def save_short(self) -> None:
        """Add a step, checked or not, to a session that will be deleted."""
        session_id = f"short/{self.random.randrange(SHORT)}"
        last = self.newest(session_id)
        if last is not None:
            self.save(session_id, last + 1, expected=self.random.choice([None, last]))

    def save_pruned(self) -> None:
        """Add a step to a session that is pruned."""
        session_id = f"pruned/{self.random.randrange(PRUNED)}"
        last = self.newest(session_id)
        if last is not None:
            self.save(session_id, last + 1)

    def prune(self) -> None:
        session_id = f"pruned/{self.random.randrange(PRUNED)}"
        policy = RetentionPolicy(keep_last=KEEP_LAST, session_ids=[session_id])
        self.call(lambda: prune(policy, batch_size=20).steps, "prune", session_id)

    def delete(self) -> None:
        session_id = f"short/{self.random.randrange(SHORT)}"
        self.call(lambda: self.checkpointer.delete_session(session_id), "delete", session_id)

    def fork(self) -> None:
        source = self.random.choice(["free/0", "free/1", "short/0", "pruned/0"])
        target = f"fork/{self.task.number}/{self.calls}"
        at_step = self.random.choice([None, self.random.randrange(FREE_STEPS)])

        def fork() -> tuple[int, int]:
            latest = self.checkpointer.fork_session(source, target, at_step=at_step)
            return latest.step, self.checkpointer.query_steps(target).page_info.total_count

        if self.call(fork, "fork", source, step=at_step, target=target):
            self.forks.append(target)

    def delete_fork(self) -> None:
        if self.forks:
            target = self.forks.pop()
            self.call(lambda: self.checkpointer.delete_session(target), "delete", target)

    def label(self) -> None:
        """Set a label of this slot, or replace all labels of a session that all writers use."""
        kind = self.random.choice([MERGE_LABELS, REPLACE_LABELS])
        session_id = LABELLED[kind]
        token = f"{self.task.number}.{self.calls}"
        labels = build_labels(self.task.slot, token)

        def set_labels() -> None:
            found = self.checkpointer.set_labels(session_id, labels, replace=kind == REPLACE_LABELS)
            if found | labels != found or (kind == REPLACE_LABELS and found != labels):
                self.pipe.send(("fault", f"{session_id}: {found} after setting {labels}"))

        self.call(set_labels, kind, session_id, token=token)

    def newest(self, session_id: str) -> int | None:
        """Return the last step of a session, 0 if it has none, ``None`` if the call failed."""
        found: list[Checkpoint | None] = []
        if not self.call(
            lambda: found.append(self.checkpointer.load_latest(session_id)), "read", session_id
        ):
            return None
        latest = found[0]
        if latest is None:
            return 0
        whole = build_checkpoint(session_id, latest.step, get_token(latest))
        if (latest.state, latest.frontier) != (whole.state, whole.frontier):
            self.pipe.send(("fault", f"{session_id}: the snapshot at {latest.step} is torn"))
        return latest.step

    def save(self, session_id: str, step: int, *, expected: int | None = None) -> bool:
        token = f"{self.task.number}.{self.calls}"
        checkpoint = build_checkpoint(session_id, step, token)
        around = self.random.choice([nullcontext, nullcontext, transaction.atomic])

        def save() -> None:
            with around():
                self.checkpointer.save_with_concurrency_check(checkpoint, expected)

        return self.call(save, "save", session_id, step=step, token=token)

    def call(self, action: Callable[[], Any], kind: str, session_id: str, **details: Any) -> bool:
        """Report a call, make it and report its outcome; return whether it succeeded."""
        self.calls += 1
        self.pipe.send(("begin", kind, session_id, details, time.monotonic()))
        try:
            result = action()
        except CheckpointerError as error:
            outcome, result = REFUSED, type(error).__name__
        except Error as error:
            outcome, result = FAILED, describe(error)
        else:
            outcome = DONE
        self.pipe.send(("end", outcome, result, time.monotonic()))
        if outcome == FAILED:
            close_old_connections()
            time.sleep(RECONNECT_PAUSE_SECONDS)
        return outcome == DONE
