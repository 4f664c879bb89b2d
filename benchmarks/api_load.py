"""Measures the REST API under load, beside bare views of REST framework.

    python benchmarks/api_load.py [--write] postgres://user:password@127.0.0.1:5432/postgres

gunicorn serves both with two workers, on a PostgreSQL database of its own; clients in processes of
their own ask as fast as they are answered. The two sides of each pair take turns, so that what else
the machine does meets both alike; the ratio is the median of those of each turn.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import rest_page
from example_project.database_url import parse_database_url

SESSIONS = 40
STEPS = 40
MESSAGES = 20
TEXT = "Look at the failing test, read the traceback, and say what to change. " * 4
GOAL = 0.8
HEADER = (
    "| call | requests/s | bare view | ratio | p99 | bare view |\n|---|---:|---:|---:|---:|---:|"
)


@dataclass
class Side:
    """One of the two that are compared, and how long each of its answers took."""

    name: str
    method: str
    path: str
    """``{session}`` and ``{step}`` are filled in by each client."""
    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def pairs() -> list[tuple[Side, Side]]:
    """Return what is compared with what."""
    session = "/api/sessions/run-{session:02}"
    return [
        (Side("`latest/`", "GET", f"{session}/latest/"), Side("bare", "GET", "/bare/latest/")),
        (
            Side(
                "`PUT` with `expected_last_step`",
                "PUT",
                f"{session}/steps/{{step}}/?expected_last_step={{last}}",
            ),
            Side("bare", "PUT", "/bare/put-{session}-{step}/"),
        ),
        (
            Side("`PUT` without it", "PUT", f"{session}/steps/{{step}}/"),
            Side("bare", "PUT", "/bare/put-{session}-{step}/"),
        ),
        (
            Side("25 steps with their states", "GET", f"{session}/steps/?limit=25"),
            Side("bare", "GET", "/bare/steps/"),
        ),
        (
            Side("25 steps without, by `fields`", "GET", f"{session}/steps/?limit=25&{LIGHT}"),
            Side("bare", "GET", "/bare/light/"),
        ),
        (
            Side("25 sessions", "GET", "/api/sessions/?limit=25"),
            Side("bare", "GET", "/bare/sessions/"),
        ),
    ]


LIGHT = "fields=step,created_at,frontier,ran_nodes"


def main() -> None:
    """Fill a database, serve it, measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "url",
        nargs="?",
        default=os.environ.get("TEST_POSTGRES_URL"),
        help="a PostgreSQL server where a database may be made (TEST_POSTGRES_URL without it)",
    )
    parser.add_argument("--write", action="store_true", help="write the table into docs/rest.md")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each side in a round")
    options = parser.parse_args()
    if options.url is None:
        parser.error("name a PostgreSQL server")
    lines = [rest_page.machine(), "", HEADER]
    print(HEADER)
    server = parse_database_url(options.url, base_dir=ROOT)
    own = server | {"NAME": f"weavegraph_benchmark_{os.getpid()}", "CONN_MAX_AGE": None}
    with database(server, own["NAME"]):
        os.environ["BENCHMARK_DATABASE"] = json.dumps(own)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            token = pool.apply(prepare)
        with gunicorn() as port:
            keep_answers(port, token, own)
            for own_side, bare in pairs():
                measure(own_side, bare, port, token, options)
                lines.append(row(own_side, bare))
                print(lines[-1], flush=True)
    if options.write:
        rest_page.write("load", lines)


@contextmanager
def database(server: dict[str, Any], name: str) -> Iterator[None]:
    """Make a database, and drop it at the end."""
    import psycopg

    def run(statement: str) -> None:
        with psycopg.connect(
            host=server["HOST"],
            port=server["PORT"] or None,
            user=server["USER"],
            password=server["PASSWORD"],
            dbname=server["NAME"],
            autocommit=True,
        ) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    run(f'CREATE DATABASE "{name}"')
    try:
        yield
    finally:
        run(f'DROP DATABASE "{name}" WITH (FORCE)')


def prepare() -> str:
    """Make the tables, a user and the histories; return the token."""
    table = import_module("benchmarks.api_server").TABLE  # which sets Django up
    from django.contrib.auth.models import Permission, User
    from django.core.management import call_command
    from django.db import connection
    from rest_framework.authtoken.models import Token

    from weavegraph_checkpoints import serde
    from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (id text PRIMARY KEY, body text)")
    user = User.objects.create_user("benchmark")
    wanted = ["view_session", "add_step", "change_step"]
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    checkpointer = DjangoCheckpointer()
    for number in range(SESSIONS):
        for step in range(1, STEPS + 1):
            checkpointer.save(serde.loads_step(body_of(step), f"run-{number:02}", step))
    token = Token.objects.create(user=user)
    connection.close()
    return token.key


def body_of(step: int) -> bytes:
    """Return a checkpoint as a client sends it."""
    said = [{"role": "assistant", "content": f"{step} {n} {TEXT}"} for n in range(MESSAGES)]
    return json.dumps(
        {
            "state": {
                "messages": {"version": step, "items": said},
                "extra": {"version": 1, "map": {"budget": 0.25, "tools": ["shell", "search"]}},
                "errors": {"version": 1, "items": []},
            },
            "frontier": ["Custom:search"],
            "versions_seen": {"Custom:search": {"messages": step}},
            "ran_nodes": ["Custom:search"],
        },
        separators=(",", ":"),
    ).encode()


@contextmanager
def gunicorn() -> Iterator[int]:
    """Serve with two workers on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--workers=2", "--log-level=warning"]
    process = subprocess.Popen(
        [*command, f"--bind=127.0.0.1:{port}", "benchmarks.api_server:application"], cwd=ROOT
    )
    try:
        for _ in range(100):
            time.sleep(0.1)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield port
    finally:
        process.terminate()
        process.wait(30)


def ask(port: int, method: str, path: str, token: str, body: bytes | None) -> bytes:
    """Make one request on a connection of its own, as gunicorn's sync workers have it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        read = answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {read[:200]!r}")
        return read
    finally:
        connection.close()


def keep_answers(port: int, token: str, database: dict[str, Any]) -> None:
    """Put the bytes of the API's answers where the bare view reads them."""
    import psycopg

    answers = {
        "latest": ask(port, "GET", "/api/sessions/run-00/latest/", token, None),
        "steps": ask(port, "GET", "/api/sessions/run-00/steps/?limit=25", token, None),
        "light": ask(port, "GET", f"/api/sessions/run-00/steps/?limit=25&{LIGHT}", token, None),
        "sessions": ask(port, "GET", "/api/sessions/?limit=25", token, None),
    }
    with psycopg.connect(
        host=database["HOST"],
        port=database["PORT"] or None,
        user=database["USER"],
        password=database["PASSWORD"],
        dbname=database["NAME"],
    ) as connection:
        for key, body in answers.items():
            connection.execute(
                "INSERT INTO benchmark_blob (id, body) VALUES (%s, %s)", [key, body.decode()]
            )


def measure(own: Side, bare: Side, port: int, token: str, options: Any) -> None:
    """Let the two sides take turns."""
    with multiprocessing.get_context("spawn").Pool(options.clients) as pool:
        for turn in range(options.rounds * 2):
            side = (own, bare)[turn % 2]
            work = [
                (port, token, side.method, side.path, number, options.seconds)
                for number in range(options.clients)
            ]
            times = [each for taken in pool.starmap(client, work) for each in taken]
            if turn >= 2:  # the first round warms up
                side.seconds += times
                side.rates.append(len(times) / options.seconds)


def client(
    port: int, token: str, method: str, path: str, number: int, seconds: float
) -> list[float]:
    """Ask for a while; return how long each answer took."""
    taken: list[float] = []
    # Each client saves into a session of its own, and goes on where it stopped.
    session = json.loads(ask(port, "GET", f"/api/sessions/run-{number:02}/", token, None))
    last = session["last_step"]
    step = last + 1
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        filled = path.format(session=number, step=step, last=last)
        body = body_of(step) if method == "PUT" else None
        began = time.perf_counter()
        ask(port, method, filled, token, body)
        taken.append(time.perf_counter() - began)
        step, last = step + 1, step
    return taken


def row(own: Side, bare: Side) -> str:
    """Return the row of a pair."""
    ratio = median(one / other for one, other in zip(own.rates, bare.rates, strict=True))
    slowest = [f"{quantiles(side.seconds, n=100)[98] * 1000:.0f} ms" for side in (own, bare)]
    cells = (
        own.name,
        f"{median(own.rates):.0f}",
        f"{median(bare.rates):.0f}",
        f"{ratio:.2f}{'' if ratio >= GOAL else f', below {GOAL}'}",
        *slowest,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
