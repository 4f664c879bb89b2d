"""What parsing and rendering of the REST API cost beside the bare ``serde``.

    python benchmarks/api.py [--write]

Compares, for states of several shapes, ``serde`` alone (``loads`` and ``dumps_state``, which a save
needs; ``dumps``, which an answer needs) with the parser and the renderer of the API around it. The
request is made beforehand: what REST framework itself costs per request stands below.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")

import django

django.setup()

from django.test import RequestFactory
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks import rest_page
from weavegraph_checkpoints import Checkpoint, Message, VersionedState, serde
from weavegraph_checkpoints.api.bodies import CheckpointParser
from weavegraph_checkpoints.api.renderers import CheckpointDocument, JSONRenderer

URL = "https://example.com/api/sessions/run/steps/1/"
WORDS = "the plan, step by step: read the file, run the tests, and say “done” at the end.\n"
BOUND = 1.3
SECONDS = 3.0
ESCAPED = "parse, all but ASCII escaped"
HEADER = "| state | work | bytes | `serde`, ms | API, ms | ratio |\n|---|---|---:|---:|---:|---:|"


def checkpoint(messages: int, words: int, extra: dict[str, Any]) -> Checkpoint:
    """Return a checkpoint of step 1 of the session ``run``."""
    said = [Message.assistant(f"{number} {WORDS * words}") for number in range(messages)]
    return Checkpoint(
        session_id="run",
        step=1,
        state=VersionedState.new(messages=said, extra=extra),
        frontier=["plan"],
        versions_seen={"Custom:plan": {"messages": 1}},
    )


def rows(number: int) -> dict[str, Any]:
    """Return free values of many small objects."""
    return {"rows": [{"id": n, "name": f"row {n}", "score": n / 7} for n in range(number)]}


SHAPES = {
    "small": checkpoint(10, 1, {"budget": 0.25}),
    "talk": checkpoint(500, 3, {}),
    "data": checkpoint(10, 1, rows(1000)),
    "large": checkpoint(1000, 8, rows(1000)),
    "huge": checkpoint(4000, 8, {}),
}


class Empty(APIView):
    """What REST framework costs by itself."""

    def get(self, request: Request) -> Response:
        """Answer with nothing."""
        return Response({})


class Place:
    """The view of a save, as far as the parser asks for it."""

    place = ("run", 1)


def milliseconds(*works: Callable[[], Any]) -> list[float]:
    """Return the processor's time of one call of each, the best of many, taken in turns.

    So that what else the machine does counts little, and meets all alike.
    """
    best = [float("inf")] * len(works)
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for position, work in enumerate(works):
            start = time.process_time()
            work()
            best[position] = min(best[position], time.process_time() - start)
    return [each * 1000 for each in best]


def parse(body: bytes) -> Callable[[], Any]:
    """Return what parses a body with the parser of the API."""
    request = Request(
        RequestFactory().put("/", body, content_type="application/json"),
    )
    context = {"view": Place, "request": request}
    parser = CheckpointParser()
    return lambda: parser.parse(io.BytesIO(body), "application/json", context)


def bare_parse(body: bytes) -> Callable[[], Any]:
    """Return what a save costs with ``serde`` alone."""
    return lambda: serde.dumps_state(serde.loads(body).state)


def works(state: Checkpoint) -> Iterator[tuple[str, int, Callable[[], Any], Callable[[], Any]]]:
    """Yield what is compared: its name, its bytes, and each of the two."""
    body = serde.dumps(state)
    plain = json.loads(body)
    document, renderer = CheckpointDocument(state, URL, None), JSONRenderer()
    yield "render", len(body), lambda: serde.dumps(state), lambda: renderer.render(document)
    for name, sent in (
        ("parse", body),
        ("parse, with spaces", json.dumps(plain, ensure_ascii=False).encode()),
        (ESCAPED, json.dumps(plain).encode()),
    ):
        yield name, len(sent), bare_parse(sent), parse(sent)


def main() -> None:
    """Print a table, write it if asked, and fail beyond the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the table into docs/rest.md")
    options = parser.parse_args()
    lines = [rest_page.machine(), "", HEADER]
    print(HEADER)
    (empty,) = milliseconds(call(Empty.as_view()))
    worst = 0.0
    for name, state in SHAPES.items():
        for work, size, bare, own in works(state):
            base, cost = milliseconds(bare, own)
            lines.append(
                f"| {name} | {work} | {size:,} | {base:.3f} | {cost:.3f} | {cost / base:.2f} |"
            )
            print(lines[-1], flush=True)
            if work != ESCAPED:
                worst = max(worst, (cost - empty) / base)
    lines += ["", f"An empty view of the REST framework costs {empty:.3f} ms by itself."]
    print(lines[-1])
    if options.write:
        rest_page.write("serde", lines)
    if worst > BOUND:
        sys.exit(f"{worst:.2f} is beyond {BOUND}")


def call(view: Any) -> Callable[[], Any]:
    """Return what calls a view without a server."""
    request = RequestFactory().get("/", headers={"accept": "application/json"})
    return lambda: view(request).render()


if __name__ == "__main__":
    main()
