"""``manage.py demo``: kill, resume, fork and prune an audit, then serve the admin."""

from __future__ import annotations

import secrets
import socket
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from threading import Thread
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.db import DatabaseError, connection
from django.urls import reverse
from tqdm import tqdm

from example_project.audit import distributions
from example_project.audit.graph import expected_last_step
from example_project.audit.nodes import megabytes
from example_project.audit.summary import (
    ROWS,
    StepRange,
    history,
    is_complete,
    same_findings,
    table,
)
from example_project.audit.supervisor import AuditFailed, AuditProcess
from weavegraph_checkpoints import Checkpoint, CheckpointerError
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

HOST = "127.0.0.1"
USER = "demo"
PAUSE = "--pause=0.03"
"""Slow the audit down so that you can see its progress."""
WATCHED_PAUSE = "--pause=1"
"""Slow the audit down so that you can sign in and follow it."""
KEEP_LAST = 5
LIVE = "live-1"
"""The session that you can watch after the demo."""


class Command(BaseCommand):
    """Show what the app does with a real run."""

    help = (
        "Audit this environment, kill the audit halfway, resume it, fork it, show what "
        "happened, prune the fork, and serve the admin. For development only."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--no-serve", action="store_true", help="exit instead of serving the admin"
        )
        parser.add_argument(
            "--port", type=int, default=8000, help="port of the admin (default: 8000)"
        )
        parser.add_argument(
            "--watch",
            action="store_true",
            help="serve the admin from the start, and resume slowly, so that you can follow it",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        serve, port = not options["no_serve"], options["port"]
        if not settings.DEBUG:
            raise CommandError("The demo creates a superuser, so it runs only with DEBUG=True.")
        if serve:
            check_port(port)
        server = f"http://{HOST}:{port}" if serve else ""
        is_watched = serve and options["watch"]
        began = time.monotonic()
        try:
            password = self.prepare()
            login = f"Sign in at {server}/admin/ as {USER}, password {password}."
            with run_server(port) if is_watched else nullcontext():
                session, page = self.perform(server, login if is_watched else "")
        except AuditFailed as error:
            raise CommandError(str(error)) from error
        except CheckpointerError as error:
            raise CommandError(f"{error}.") from error
        except DatabaseError as error:
            raise CommandError(f"Database error: {error}") from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None
        self.stdout.write(f"\nDone in {time.monotonic() - began:.1f} seconds.")
        self.stdout.write(
            f"\n  login     {USER}\n  password  {password}   (changes with every demo)"
        )
        if not serve:
            self.stdout.write("  admin     not running; start it with: python manage.py runserver")
            self.stdout.write(f"  the run   {page}")
        else:
            self.stdout.write(f"  admin     {server}/admin/   (Ctrl-C to stop)")
            self.stdout.write(f"  the run   {server}{page}")
            self.show_api(server, password, session)
            self.show_live(server, password)
            self.stdout.flush()
            call_command("runserver", f"{HOST}:{port}", use_reloader=False, verbosity=0)

    def prepare(self) -> str:
        """Run the migrations and create the user; return the password."""
        name = connection.settings_dict["NAME"]
        self.stdout.write(f"Database: {connection.display_name}, {name}")
        call_command("migrate", verbosity=0, interactive=False)
        password = secrets.token_urlsafe(9)
        user, _made = get_user_model().objects.get_or_create(username=USER)
        user.is_staff = user.is_superuser = user.is_active = True
        user.set_password(password)
        user.save()
        return password

    def show_api(self, server: str, password: str, session: str) -> None:
        """Print how to read the audit over HTTP, if the REST API is installed."""
        if apps.is_installed("rest_framework"):
            url = f"{server}/api/sessions/{session}/steps/?fields=step,ran_nodes&limit=3"
            self.stdout.write(f"  API       {server}/api/")
            self.stdout.write(f"  try       curl -u {USER}:{password} '{url}'")

    def show_live(self, server: str, password: str) -> None:
        """Print how to watch a run live."""
        page = reverse("admin:weavegraph_checkpoints_session_change", args=[LIVE])
        self.stdout.write(
            f"\n  watch one live: python manage.py audit {LIVE} {WATCHED_PAUSE}"
            f"\n  admin     {server}{page}   (switch on Follow)"
        )
        if apps.is_installed("rest_framework"):
            url = f"{server}/api/sessions/{LIVE}/events/?after_step=-1"
            self.stdout.write(f"  events    curl -N -u {USER}:{password} '{url}'")
        self.stdout.write("\n")

    def perform(self, server: str, login: str) -> tuple[str, str]:
        """Run, kill, resume and fork an audit, print what is stored, prune the fork.

        With a ``login`` to print, resume so slowly that you can follow it in the admin.

        Return the id of the session, and the admin URL of the page of steps that shows the
        kill.
        """
        checkpointer = DjangoCheckpointer()
        session, fork = fresh_ids(set(checkpointer.list_sessions()))
        found = len(distributions.installed())
        last = expected_last_step(found)
        kill_after, fork_at = last // 2, last // 4
        self.stdout.write(f"{found} distributions to audit, in {last} steps.\n\n")

        stall = f"--stall-at={kill_after + 1}"
        with (
            self.step(1, f"Audit {session}", last) as on_step,
            AuditProcess(session, PAUSE, stall) as audit,
        ):
            audit.kill_after(kill_after, on_step)
        self.stdout.write(f"   Killed with SIGKILL before it could save step {kill_after + 1}.")
        before = history(checkpointer, session)

        page = reverse("admin:weavegraph_checkpoints_session_change", args=[quote(session)])
        if login:
            self.stdout.write(f"\n   {login}\n   Switch on Follow at {server}{page}\n\n")
        with (
            self.step(2, f"Audit {session} again", last) as on_step,
            AuditProcess(session, WATCHED_PAUSE if login else PAUSE) as audit,
        ):
            audit.wait(on_step)
        whole = history(checkpointer, session)
        self.stdout.write(f"   Resumed after step {kill_after}, finished at {whole[-1].step}.")

        options = (f"--fork-from={session}", f"--at-step={fork_at}")
        with (
            self.step(3, f"Fork it at step {fork_at} as {fork}", last) as on_step,
            AuditProcess(fork, PAUSE, *options) as audit,
        ):
            audit.wait(on_step)
        forked = history(checkpointer, fork)
        self.stdout.write(f"   Forked at step {fork_at}, finished at {forked[-1].step}.\n\n")

        self.show_table(before, whole, forked, fork_at)
        self.show_findings(whole[-1])
        self.prune(fork)
        claims = self.claims(before, whole, forked)
        claims[f"The pruned fork resumes from the same step, and {session} is unchanged."] = (
            history(checkpointer, fork) == forked[-KEEP_LAST:]
            and history(checkpointer, session) == whole
        )
        self.verify(claims)
        return session, f"{page}?before={kill_after + 25}"

    @contextmanager
    def step(self, number: int, title: str, last: int) -> Iterator[Callable[[int], None]]:
        """Print the title of a part of the demo; yield a function that shows its progress."""
        self.stdout.write(f"{number}. {title}")
        self.stdout.flush()
        if self.stdout.isatty():
            with tqdm(total=last, unit="step", leave=False) as bar:

                def move(step: int) -> None:
                    bar.update(step - bar.n)

                yield move
        else:
            yield self.plain_progress(last)

    def plain_progress(self, last: int) -> Callable[[int], None]:
        """Return a function that prints about every tenth step."""
        shown = -1

        def show(step: int) -> None:
            nonlocal shown
            if step // 10 > shown // 10 or step == last:
                self.stdout.write(f"   step {step} of {last}")
                self.stdout.flush()
            shown = step

        return show

    def show_table(
        self,
        before: list[Checkpoint],
        whole: list[Checkpoint],
        forked: list[Checkpoint],
        fork_at: int,
    ) -> None:
        """Print what happened, as stored in the database."""
        killed_at = before[-1].step
        columns = [
            ["until the kill", *StepRange.from_steps(before).cells(), f"killed after {killed_at}"],
            [
                "resumed",
                *StepRange.from_steps(whole[len(before) :]).cells(),
                f"resumed after {killed_at}",
            ],
            [
                "the fork",
                *StepRange.from_steps(forked[fork_at + 1 :]).cells(),
                f"forked at {fork_at}",
            ],
        ]
        rows = zip(["", *ROWS, ""], *columns, strict=True)
        for line in table(rows):
            self.stdout.write(line)

    def show_findings(self, last: Checkpoint) -> None:
        """Print the findings of the audit."""
        report = last.state.extra.map["report"]
        licences = [f"{name} {number}" for name, number in report["licences"].items()]
        more = ", …" if len(licences) > 6 else ""
        self.stdout.write(
            f"\nThe audit: {report['distributions']} distributions, "
            f"{megabytes(report['bytes'])}, {report['errors']} errors."
        )
        self.stdout.write(f"  licences  {', '.join(licences[:6])}{more}")
        for event in last.state.errors.items[:5]:
            self.stdout.write(f"  error     {event.error.message} ({', '.join(event.tags)})")

    def prune(self, fork: str) -> None:
        """Prune only the fork: a dry run first, then the real run."""
        self.stdout.write(f"\n4. Prune {fork} to its newest {KEEP_LAST} steps: dry run, prune")
        options = (f"--session={fork}", f"--keep-last={KEEP_LAST}")
        for dry_run in (True, False):
            call_command(
                "prune_checkpoints",
                *options,
                dry_run=dry_run,
                stdout=self.stdout,
                stderr=self.stderr,
            )

    def claims(
        self, before: list[Checkpoint], whole: list[Checkpoint], forked: list[Checkpoint]
    ) -> dict[str, bool]:
        """Return what must be true of the three histories, and whether it is."""
        return {
            f"All {len(before)} checkpoints saved before the kill are unchanged.": (
                whole[: len(before)] == before
            ),
            f"No step is missing: 0 to {whole[-1].step}.": is_complete(whole),
            "The fork, never killed, ended with the same findings.": (
                is_complete(forked) and same_findings(whole[-1], forked[-1])
            ),
        }

    def verify(self, claims: dict[str, bool]) -> None:
        """Print whether each claim is true; raise ``CommandError`` if one is not."""
        self.stdout.write("")
        for claim, holds in claims.items():
            self.stdout.write(f"  {'ok' if holds else 'NOT TRUE':8}  {claim}")
        if not all(claims.values()):
            raise CommandError("The demo found an error.")


class QuietRequestHandler(WSGIRequestHandler):
    """Answers requests without a line in the output of the demo."""

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def run_server(port: int) -> Iterator[None]:
    """Serve the admin from a thread during the block."""
    with ThreadedWSGIServer((HOST, port), QuietRequestHandler) as server:
        server.set_app(StaticFilesHandler(get_wsgi_application()))
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def fresh_ids(taken: set[str]) -> tuple[str, str]:
    """Return unused ids for a session and its fork."""
    pairs = ((f"demo-{number}", f"demo-{number}-fork") for number in count(1))
    return next(pair for pair in pairs if taken.isdisjoint(pair))


def check_port(port: int) -> None:
    """Raise ``CommandError`` at once if the admin could not be served on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise CommandError(
                f"Port {port} cannot be used ({error}); "
                "choose another with --port, or make demo PORT=…"
            ) from error
