"""``manage.py audit SESSION``: start or resume an audit."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from tqdm import tqdm

from example_project.audit import distributions
from example_project.audit.graph import AUDIT, expected_last_step
from example_project.audit.runner import is_finished, run
from weavegraph_checkpoints import Checkpoint, CheckpointerError, ConcurrencyConflict
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

STALL_SECONDS = 60


class StallingCheckpointer(DjangoCheckpointer):
    """Wait to be killed instead of saving step ``stall_at``.

    That is the worst moment for a process to die: the nodes have done their work, and
    none of it is saved.
    """

    def __init__(self, stall_at: int) -> None:
        super().__init__()
        self.stall_at = stall_at

    def save_with_concurrency_check(
        self, checkpoint: Checkpoint, expected_last_step: int | None, *, replace: bool = True
    ) -> None:
        """See ``DjangoCheckpointer``."""
        if checkpoint.step >= self.stall_at:
            time.sleep(STALL_SECONDS)
            raise CommandError(
                f"This process was not killed within {STALL_SECONDS} seconds "
                f"at step {self.stall_at}."
            )
        super().save_with_concurrency_check(checkpoint, expected_last_step, replace=replace)


class Command(BaseCommand):
    """Run the audit as a session and print each superstep."""

    help = (
        "Audit the Python distributions of this environment. An existing session is "
        "resumed from its latest checkpoint, so you can kill this command at any time."
    )

    verbosity = 1

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("session", help="the id of the session to start or to resume")
        parser.add_argument(
            "--fork-from", metavar="SESSION", help="start from a fork of another session"
        )
        parser.add_argument(
            "--at-step", type=int, metavar="N", help="with --fork-from: copy up to this step"
        )
        parser.add_argument(
            "--pause",
            type=float,
            default=0.0,
            metavar="SECONDS",
            help="wait after each step, to have time to watch or to kill the process",
        )
        parser.add_argument(
            "--stall-at",
            type=int,
            metavar="N",
            help="run step N, then wait to be killed instead of saving it (for demos)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["at_step"] is not None and not options["fork_from"]:
            raise CommandError("--at-step requires --fork-from.")
        self.verbosity = options["verbosity"]
        session_id, stall_at = options["session"], options["stall_at"]
        checkpointer = DjangoCheckpointer() if stall_at is None else StallingCheckpointer(stall_at)
        try:
            self.begin(checkpointer, session_id, options["fork_from"], options["at_step"])
            self.proceed(checkpointer, session_id, options["pause"])
        except ConcurrencyConflict as error:
            raise CommandError(f"Another process is running this session: {error}.") from error
        except CheckpointerError as error:
            raise CommandError(f"{error}.") from error
        except DatabaseError as error:
            raise CommandError(f"{error} (Has `manage.py migrate` been run?)") from error
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted. Run the command again to continue from the latest checkpoint.",
                returncode=130,
            ) from None

    def begin(
        self,
        checkpointer: DjangoCheckpointer,
        session_id: str,
        source: str | None,
        at_step: int | None,
    ) -> None:
        """Create the requested fork, and print where the session continues."""
        if source:
            latest = checkpointer.fork_session(source, session_id, at_step=at_step)
            self.say(f"Forked {source} at step {latest.step} as {session_id}.")
            return
        found = checkpointer.load_latest(session_id)
        if found is None:
            self.say(f"Starting {session_id}.")
        elif is_finished(found):
            self.say(f"{session_id} is already finished, at step {found.step}.")
        else:
            self.say(f"Resuming {session_id} after step {found.step}.")

    def proceed(self, checkpointer: DjangoCheckpointer, session_id: str, pause: float) -> None:
        """Run the session to its end."""
        last = None
        for checkpoint in self.with_progress(run(session_id, AUDIT, checkpointer)):
            last = checkpoint
            time.sleep(pause)
        if last is not None:
            summary = last.state.messages.items[-1].content
            self.say(f"Finished {session_id} at step {last.step}. {summary}")

    def with_progress(self, checkpoints: Iterator[Checkpoint]) -> Iterator[Checkpoint]:
        """Yield the checkpoints; show a progress bar on a terminal, one line each otherwise."""
        total = expected_last_step(len(distributions.installed()))
        terminal = self.stdout.isatty() and self.verbosity > 0
        with tqdm(total=total, unit="step", disable=not terminal, leave=False) as bar:
            for checkpoint in checkpoints:
                ran = ", ".join(str(node) for node in checkpoint.ran_nodes) or "–"
                bar.n = checkpoint.step
                bar.set_postfix_str(ran)
                if not terminal:
                    self.say(format_step(checkpoint, ran))
                yield checkpoint

    def say(self, text: str) -> None:
        """Print a line, unless the verbosity is 0."""
        if self.verbosity > 0:
            self.stdout.write(text)


def format_step(checkpoint: Checkpoint, ran: str) -> str:
    """Return a line that describes one superstep."""
    skipped = ", ".join(str(node) for node in checkpoint.skipped_nodes)
    changed = ", ".join(checkpoint.updated_channels) or "nothing"
    line = f"step {checkpoint.step:>3}  ran {ran}; changed {changed}"
    return f"{line}; skipped {skipped}" if skipped else line
