"""No page is slow or large, whatever was saved: a walk over the worst states that can be saved."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.admin.example_runs import body, session_urls
from tests.strategies import a_checkpoint
from tests.worst_states import WORST_STATES, longest_columns, worst_checkpoint, worst_columns
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = pytest.mark.django_db

MAX_CPU_SECONDS = 2.0
"""Twice what a page may take, as other processes share the caches of the processor."""
MAX_MEGABYTES = 100
MAX_PAGE_BYTES = 6_000_000
MAX_DOCUMENT_CPU_SECONDS = 8.0
MAX_DOCUMENT_MEGABYTES = 800
"""Whole documents, such as downloads, take the memory of the states that they contain."""

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


def check_page(client: Client, url: str, query: dict[str, Any] | None = None) -> str:
    """Return the HTML of a page; fail if it is slow or large."""
    response, seconds, megabytes = measure(lambda: client.get(url, query))
    assert response.status_code in (200, 302), url
    assert seconds < MAX_CPU_SECONDS, f"{url} {query}: {seconds:.1f} s"
    assert megabytes < MAX_MEGABYTES, f"{url} {query}: {megabytes:.0f} MB"
    html = body(response)
    assert len(html.encode()) < MAX_PAGE_BYTES, f"{url} {query}: {len(html)} characters"
    return html


def check_document(client: Client, url: str) -> None:
    """Fail if a document that contains whole states is slow or takes much memory."""
    size, seconds, megabytes = measure(lambda: len(body(client.get(url))))
    assert size, url
    assert seconds < MAX_DOCUMENT_CPU_SECONDS, f"{url}: {seconds:.1f} s"
    assert megabytes < MAX_DOCUMENT_MEGABYTES, f"{url}: {megabytes:.0f} MB"


@pytest.mark.parametrize("kind", WORST_STATES)
def test_every_page_and_call_of_the_worst_states_is_bounded(walker: Client, kind: str) -> None:
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
    response, seconds, megabytes = measure(
        lambda: walker.post(session_urls.get_url("prune"), preview)
    )
    assert "1 step" in body(response)
    assert (seconds < MAX_CPU_SECONDS, megabytes < MAX_MEGABYTES) == (True, True)
    check_document(walker, session_urls.get_url("raw", kind, 2))
    if find_spec("rest_framework"):
        check_page(walker, f"/api/sessions/{kind}/steps/?fields=step")
        check_document(walker, f"/api/sessions/{kind}/latest/")
        check_document(walker, f"/api/sessions/{kind}/diff/?from=1&to=2")


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
