"""No page is slow or large, whatever was saved: a walk over the worst states that can be saved."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client

from tests.admin.example_runs import body, session_urls
from tests.strategies import a_checkpoint
from tests.worst_states import WORST_STATES, longest_columns, worst_checkpoint, worst_columns
from weavegraph_checkpoints import VersionedState, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = [pytest.mark.budget, pytest.mark.django_db]

MAX_CPU_SECONDS = 1.0
MAX_MEGABYTES = 100
MAX_DOCUMENT_MEGABYTES = 200
"""Calls that read or write whole states decode one, and have its JSON in memory beside it."""
MAX_PAGE_BYTES = 6_000_000
ATTEMPTS = 3
"""Other processes slow a processor down, so that the fastest of some attempts counts."""
REFERENCE_SECONDS = 0.1
"""What ``run_reference`` takes on the machine for which the limits are meant."""

POINTERS = {
    "many_messages": ("/messages/items", "/messages/items/0/content"),
    "many_lines": ("/messages/items", "/messages/items/0/content"),
    "one_line": ("/messages/items/0/content",),
    "many_words": ("/messages/items/0/content",),
    "control_characters": ("/messages/items/0/content",),
    "random_bits": ("/extra/map/bits",),
    "many_keys": ("/extra/map",),
    "long_integers": ("/extra/map/integers", "/extra/map/integers/0"),
    "many_errors": ("/errors/items",),
}
"""The values of each state that have pages worth a visit."""


@pytest.fixture
def walker(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client that keeps no copies of the contexts of templates."""
    monkeypatch.setattr("django.test.client.store_rendered_templates", lambda *_args, **_more: None)
    return admin_client


def measure(call: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a call, its CPU seconds, and its peak memory in megabytes.

    The memory is 0 where the system does not tell.
    """
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    before = read_peak_memory()
    began = time.process_time()
    result = call()
    seconds = time.process_time() - began
    return result, seconds, read_peak_memory(reset=False) - before


def read_peak_memory(*, reset: bool = True) -> float:
    """Return the peak memory of the process since the last reset, in megabytes."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def check_call(name: str, call: Callable[[], Any], *, max_megabytes: int = MAX_MEGABYTES) -> Any:
    """Return the result of a call; fail if it is slow, or takes much memory, in every attempt."""
    for _ in range(ATTEMPTS):
        result, seconds, megabytes = measure(call)
        if seconds > MAX_CPU_SECONDS:
            seconds *= min(1, REFERENCE_SECONDS / measure(run_reference)[1])
        if seconds < MAX_CPU_SECONDS and megabytes < max_megabytes:
            return result
    raise AssertionError(f"{name} took {seconds:.1f} s and {megabytes:.0f} MB")


def run_reference() -> None:
    """Do the work whose time tells how slow the machine is at the moment."""
    values = [{"key": str(number), "values": [number] * 5} for number in range(50_000)]
    msgspec.json.decode(msgspec.json.encode(values))


def check_page(client: Client, url: str, query: dict[str, Any] | None = None) -> str:
    """Return the HTML of a page; fail if it is slow or large."""
    html = check_call(f"{url} {query}", lambda: read(client.get(url, query)))
    assert len(html.encode()) < MAX_PAGE_BYTES, f"{url} {query}: {len(html)} characters"
    return html


def check_document(client: Client, url: str) -> None:
    """Fail if a document that contains whole states is slow or takes much memory."""
    check_call(url, lambda: len(read(client.get(url))), max_megabytes=MAX_DOCUMENT_MEGABYTES)


def read(response: Any) -> str:
    """Return the body of a response; fail if it is an error."""
    assert response.status_code < 400, f"{response.status_code}: {body(response)[:500]}"
    return body(response)


@pytest.mark.parametrize("kind", WORST_STATES)
def test_every_page_of_the_worst_states_is_bounded(walker: Client, kind: str) -> None:
    for step in (1, 2):
        DjangoCheckpointer().save(worst_checkpoint(kind, kind, step))
    gc.collect()
    step_url = session_urls.get_step_url(kind, 2)
    check_page(walker, session_urls.get_changelist_url())
    check_page(walker, session_urls.get_session_url(kind), {"nodes": "all"})
    check_page(walker, step_url)
    check_page(walker, step_url, {"whole": "yes", "errors": "all"})
    for pointer in ("", *POINTERS.get(kind, ())):
        check_page(walker, session_urls.get_url("value", kind, 2), {"at": pointer})
    check_page(walker, session_urls.get_compare_url(kind, 1, 2))
    for name in ("fork", "delete", "history"):
        check_page(walker, session_urls.get_url(name, kind))
    preview = {"keep_last": "1", "stage": "preview"}
    prune_url = session_urls.get_url("prune")
    html = check_call(prune_url, lambda: read(walker.post(prune_url, preview)))
    assert "1 step" in html
    check_document(walker, session_urls.get_url("raw", kind, 2))
    check_download(walker, session_urls.get_url("download", kind))


def check_download(client: Client, url: str) -> None:
    """Fail if a line of a download is slow or takes much memory."""
    lines = iter(client.get(url).streaming_content)
    for number in (1, 2):
        check = f"{url} line {number}"
        assert check_call(check, lambda: len(next(lines)), max_megabytes=MAX_DOCUMENT_MEGABYTES)


@pytest.mark.skipif(find_spec("rest_framework") is None, reason="needs the REST framework")
@pytest.mark.parametrize("kind", WORST_STATES)
def test_every_call_of_the_worst_states_is_bounded(walker: Client, kind: str) -> None:
    for step in (1, 2, 3):
        DjangoCheckpointer().save(worst_checkpoint(kind, kind, step))
    saved = serde.dumps(worst_checkpoint(kind, kind, 4))
    gc.collect()
    url = f"/api/sessions/{kind}/"

    numbers = count(1)

    def save() -> int:
        answer = walker.put(f"{url}steps/4/", saved, content_type="application/json")
        return len(read(answer))

    def fork() -> int:
        fork = {"target": f"fork {next(numbers)}"}
        return len(read(walker.post(f"{url}fork/", fork, content_type="application/json")))

    for path in ("latest/", "steps/", "steps/2/", "steps/?fields=step", "diff/?from=1&to=2"):
        check_document(walker, url + path)
    check_call(f"PUT {url}steps/4/", save, max_megabytes=MAX_DOCUMENT_MEGABYTES)
    check_call(f"POST {url}fork/", fork, max_megabytes=MAX_DOCUMENT_MEGABYTES)


@pytest.mark.parametrize("build_columns", [worst_columns, longest_columns])
def test_the_pages_of_the_worst_columns_are_fast_and_small(
    walker: Client, build_columns: Callable[[int], dict[str, Any]]
) -> None:
    for step in range(1, 56):
        columns = build_columns(step)
        DjangoCheckpointer().save(
            a_checkpoint("columns", step, state=VersionedState.new(), **columns)
        )
    url = session_urls.get_session_url("columns")
    check_page(walker, session_urls.get_changelist_url())
    check_page(walker, url)
    assert "most active nodes of" in check_page(walker, url, {"nodes": "all"})
    check_page(walker, url, {"node": columns["ran_nodes"][0]})
    check_page(walker, url, {"before": "54"})
    check_page(walker, session_urls.get_step_url("columns", 55))
    check_page(walker, session_urls.get_compare_url("columns", 54, 55))
