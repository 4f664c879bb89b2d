"""What parsing and rendering of the REST API cost beside the bare ``serde``.

    python benchmarks/api.py [--write]

Compares, for states of several shapes, ``serde`` alone (``loads`` and ``dumps_state``, which a save
needs; ``dumps``, which an answer needs) with the parser and the renderer of the API around it. A
body is put to a view that parses it and does nothing else; Django's own share is what a view takes
that only reads it.
"""

from __future__ import annotations

import argparse
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
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from benchmarks import rest_page
from weavegraph_checkpoints import Checkpoint, Message, VersionedState, serde
from weavegraph_checkpoints.api.parsers import CheckpointParser
from weavegraph_checkpoints.api.renderers import CheckpointData, JSONRenderer

URL = "https://example.com/api/sessions/run/steps/1/"
WORDS = "the plan, step by step: read the file, run the tests, and say “done” at the end.\n"
BOUND = 1.3
SECONDS = 3.0
ESCAPED = "parse, all but ASCII escaped"
HEADER = (
    "| state | work | bytes | `serde`, ms | Django, ms | API, ms | API by the two |\n"
    "|---|---|---:|---:|---:|---:|---:|"
)


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


class ReadingParser(BaseParser):
    """Reads a body, and does nothing with it."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> bytes:
        """Return the body."""
        body: bytes = stream.read(int(parser_context["request"].META["CONTENT_LENGTH"]))
        return body


class Reading(APIView):
    """What Django and the REST framework cost by themselves."""

    parser_classes = [ReadingParser]

    def put(self, request: Request) -> Response:
        """Answer with nothing."""
        assert request.data
        return Response({})


class Parsing(APIView):
    """The parser of a save, and what a save does with the body."""

    parser_classes = [CheckpointParser]

    def put(self, request: Request) -> Response:
        """Answer with nothing."""
        serde.dumps_state(serde.loads_step(request.data, "run", 1).state)
        return Response({})


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


def put(view: type[APIView], body: bytes) -> Callable[[], Any]:
    """Return what puts a body to a view, without a server."""
    factory, answer = RequestFactory(), view.as_view()
    return lambda: answer(factory.put("/", body, content_type="application/json")).render()


def bare_parse(body: bytes) -> Callable[[], Any]:
    """Return what a save costs with ``serde`` alone."""
    return lambda: serde.dumps_state(serde.loads(body).state)


def measured(state: Checkpoint) -> Iterator[tuple[str, int, float, float, float]]:
    """Yield what is measured: its name, its bytes, and the milliseconds of each."""
    body = serde.dumps(state)
    plain = json.loads(body)
    document, renderer = CheckpointData(state, URL), JSONRenderer()
    bare, own = milliseconds(lambda: serde.dumps(state), lambda: renderer.render(document))
    yield "render", len(body), bare, 0, own
    for name, sent in (
        ("parse", body),
        ("parse, with spaces", json.dumps(plain, ensure_ascii=False).encode()),
        (ESCAPED, json.dumps(plain).encode()),
    ):
        costs = milliseconds(bare_parse(sent), put(Reading, sent), put(Parsing, sent))
        yield name, len(sent), *costs


def main() -> None:
    """Print a table, write it if asked, and fail beyond the bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the table into docs/rest.md")
    options = parser.parse_args()
    lines = [rest_page.machine(), "", HEADER]
    print(HEADER)
    worst = 0.0
    for name, state in SHAPES.items():
        for work, size, bare, django_, own in measured(state):
            ratio = own / (bare + django_)
            lines.append(
                f"| {name} | {work} | {size:,} | {bare:.3f} | {django_:.3f} | {own:.3f}"
                f" | {ratio:.2f} |"
            )
            print(lines[-1], flush=True)
            if work != ESCAPED:
                worst = max(worst, ratio)
    if options.write:
        rest_page.write("serde", lines)
    if worst > BOUND:
        sys.exit(f"{worst:.2f} is beyond {BOUND}")


if __name__ == "__main__":
    main()
