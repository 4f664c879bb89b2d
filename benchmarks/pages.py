"""Measure the admin next to a stock changelist, and the REST API next to a bare view."""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.db import connection

from benchmarks import harness
from benchmarks.harness import RESULTS, configure, format_ms, format_table
from benchmarks.workloads import SEED, Prose, build_steps
from weavegraph_checkpoints import Checkpoint, Message, VersionedState, serde

LONG = "the-long-one"
SENTENCE = "the plan, step by step: read the file, run the tests, and say “done” at the end.\n"
SHAPES = {
    "small": (10, 1),
    "conversation": (500, 3),
    "data": (10, 1, 1000),
    "large": (1000, 8, 1000),
    "huge": (4000, 8),
}
"""Per state the number of messages, of sentences in each, and of rows in its extras."""
ADMIN_PAGES: dict[str, tuple[str, list[Any], str]] = {
    "sessions": ("changelist", [], ""),
    "sessions, last page": ("changelist", [], "p=400"),
    "sessions by status": ("changelist", [], "status=resumable"),
    "sessions with errors": ("changelist", [], "errors=yes"),
    "sessions of the last week": ("changelist", [], "updated=week"),
    "forked sessions": ("changelist", [], "forked=yes"),
    "sessions by status, with errors": ("changelist", [], "status=resumable&errors=yes"),
    "search for an id": ("changelist", [], "q=run-7"),
    "search for an id prefix": ("changelist", [], "q=run-77"),
    "search without results": ("changelist", [], "q=missing"),
    "steps, newest": ("change", [LONG], ""),
    "steps, oldest": ("change", [LONG], "before=50"),
    "steps of a frequent node": ("change", [LONG], "node=act"),
    "steps of an unknown node": ("change", [LONG], "node=missing"),
    "one step": ("step", [LONG, 50], ""),
    "compare": ("compare", [LONG], "from=49&to=50"),
    "fork form": ("fork", [LONG], ""),
    "delete confirmation": ("delete", [LONG], ""),
    "raw JSON of a step": ("raw", [LONG, 50], ""),
}
"""A name, arguments and a query string per page."""
API_CALLS = {
    "`latest/`": f"/api/sessions/{LONG}/latest/",
    "25 steps": f"/api/sessions/{LONG}/steps/?limit=25",
    "25 steps by `fields`": f"/api/sessions/{LONG}/steps/?limit=25&fields=step,frontier",
    "25 sessions": "/api/sessions/?limit=25",
}
SAVE = "save with `PUT`"


def measure_pages(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure the pages and calls at 1 000 000 sessions and 100 000 steps of one session."""
    found = [harness.run_alone(_measure_pages, each, quick) for each in servers]
    heads = [head for each in servers for head in (f"{each}, ms", "plain, ms", "ratio")]
    rows = [[title, *(cell for rows in found for cell in rows[title])] for title in found[0]]
    return {RESULTS: format_table(["", *heads], rows)}


def _measure_pages(server: str, quick: bool) -> dict[str, list[str]]:
    from tests.settings import base

    values = {name: getattr(base, name) for name in dir(base) if name.isupper()}
    with harness.temporary_databases({"default": server}, **values | {"ALLOWED_HOSTS": ["*"]}):
        from django.contrib.auth.models import Group, User
        from django.test import Client
        from django.urls import reverse

        harness.create_tables("default")
        sessions, steps, rounds = (10_000, 1000, 3) if quick else (1_000_000, 100_000, 17)
        template = build_steps("template", 100, 1, 1800, Prose(random.Random(SEED)), growing=False)
        copies = [(LONG, offset) for offset in range(0, steps, 100)]
        harness.fill("default", template, copies, (f"run-{n}" for n in range(sessions)))
        Group.objects.bulk_create(Group(name=f"group {number}") for number in range(10))
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE benchmark_blob (id varchar(200) PRIMARY KEY, body text)")
        settings.ROOT_URLCONF = build_urls()
        client = Client()
        client.force_login(User.objects.create_superuser("root"))
        plain = reverse("admin:auth_group_changelist")
        pages = {}
        for title, (page, args, query) in ADMIN_PAGES.items():
            url = reverse(f"admin:weavegraph_checkpoints_session_{page}", args=args)
            pages[title] = f"{url}?{query}", plain
        for key, (title, url) in enumerate(API_CALLS.items()):
            client.put(f"/bare/answer-{key}/", client.get(url).content)
            pages[title] = url, f"/bare/answer-{key}/"
        rows = {
            title: _compare(partial(client.get, url), partial(client.get, plain), rounds)
            for title, (url, plain) in pages.items()
        }
        document = json.loads(serde.dumps(build_checkpoint(20, 3)))
        body = {name: document[name] for name in ("state", "frontier", "versions_seen")}
        numbers = count(1_000_000)
        put = partial(client.put, data=body, content_type="application/json")
        rows[SAVE] = _compare(
            lambda: put(f"/api/sessions/{LONG}/steps/{next(numbers)}/"),
            lambda: put(f"/bare/{next(numbers)}/"),
            rounds,
        )
        return rows


def _compare(page: Callable[[], Any], plain: Callable[[], Any], rounds: int) -> list[str]:
    """Return the milliseconds of a page and of a plain one, which take turns, and the ratio."""
    seconds: list[list[float]] = [[], []]
    for call, spent in [(page, seconds[0]), (plain, seconds[1])] * rounds:
        gc.collect()
        began = time.perf_counter()
        response = call()
        spent.append(time.perf_counter() - began)
        if response.status_code not in (200, 201):
            raise RuntimeError(f"{response.status_code}: {response.content[:200]}")
    # The first two calls of each fill caches.
    took, base = (median(spent[2:]) for spent in seconds)
    return [format_ms(took), format_ms(base), f"{took / base:.2f}"]


def build_urls() -> tuple[Any, ...]:
    """Return the URLs of the test suite and of a bare view."""
    from django.http import HttpResponse
    from django.urls import path
    from rest_framework.request import Request
    from rest_framework.response import Response
    from rest_framework.views import APIView

    from tests.urls import urlpatterns

    class BareView(APIView):
        """Reads or writes one row by its key."""

        def get(self, request: Request, key: str) -> HttpResponse:
            with connection.cursor() as cursor:
                cursor.execute("SELECT body FROM benchmark_blob WHERE id = %s", [key])
                return HttpResponse(cursor.fetchone()[0], content_type="application/json")

        def put(self, request: Request, key: str) -> Response:
            row = [key, request._request.body.decode()]
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO benchmark_blob VALUES (%s, %s)", row)
            return Response({"session_id": LONG, "step": 1}, status=201)

    return (path("bare/<str:key>/", BareView.as_view()), *urlpatterns)


# Parsing and rendering


def build_checkpoint(messages: int, sentences: int, rows: int = 0) -> Checkpoint:
    """Return a checkpoint with long messages and many small objects."""
    said = [Message.assistant(f"{n} {SENTENCE * sentences}") for n in range(messages)]
    extra = {"rows": [{"id": n, "name": f"row {n}", "score": n / 7} for n in range(rows)]}
    state = VersionedState.new(messages=said, extra=extra)
    return Checkpoint(session_id="run", step=1, state=state, frontier=["plan"], versions_seen={})


def measure_serde(servers: Sequence[str], quick: bool) -> dict[Path, str]:
    """Measure the API's parser and renderer next to ``serde`` alone."""
    configure({}, INSTALLED_APPS=["weavegraph_checkpoints", "rest_framework"])
    from weavegraph_checkpoints.api.parsers import CheckpointParser
    from weavegraph_checkpoints.api.renderers import CheckpointData, JSONRenderer

    def parse(body: bytes) -> Any:
        request = SimpleNamespace(META={"CONTENT_LENGTH": str(len(body))}, content_params={})
        data = CheckpointParser().parse(BytesIO(body), parser_context={"request": request})
        return serde.dumps_state(serde.loads_step(data, "run", 1).state)

    rows = []
    for shape, arguments in SHAPES.items():
        checkpoint = build_checkpoint(*arguments)
        document = CheckpointData(checkpoint, "https://example.com/")
        body = serde.dumps(checkpoint)
        plain = json.loads(body)
        spaced, escaped = json.dumps(plain, ensure_ascii=False), json.dumps(plain)
        operations = {
            "render": (body, partial(serde.dumps, checkpoint), JSONRenderer().render, document)
        }
        for title, sent in {
            "": body,
            ", spaces": spaced.encode(),
            ", escapes": escaped.encode(),
        }.items():
            bare = partial(lambda data: serde.dumps_state(serde.loads(data).state), sent)
            operations[f"parse{title}"] = sent, bare, parse, sent
        for title, (data, bare, function, argument) in operations.items():
            times = _get_best_times([bare, partial(function, argument)], quick)
            cells = [format_ms(each) for each in times]
            rows.append([shape, title, f"{len(data):,}", *cells, f"{times[1] / times[0]:.2f}"])
    heads = ["state", "operation", "bytes", "`serde`, ms", "API, ms", "ratio"]
    return {RESULTS: format_table(heads, rows, texts=2)}


def _get_best_times(calls: list[Callable[[], Any]], quick: bool) -> list[float]:
    """Return the least processor time of each call; they take turns for some seconds."""
    best = [float("inf")] * len(calls)
    began = time.perf_counter()
    while time.perf_counter() - began < (0.1 if quick else 3.0):
        for position, call in enumerate(calls):
            start = time.process_time()
            call()
            best[position] = min(best[position], time.process_time() - start)
    return best
