"""No page is slow or large, whatever was saved: a walk over the worst states that can be saved."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from typing import Any

import pytest
from django.test import Client

from tests.admin.example_runs import body, session_urls
from tests.costs import check_cost
from tests.strategies import a_checkpoint
from tests.worst_states import WORST_STATES, longest_columns, worst_checkpoint, worst_columns
from weavegraph_checkpoints import VersionedState, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

pytestmark = [pytest.mark.budget, pytest.mark.django_db]

MAX_CPU_SECONDS = 1.0
MAX_MEGABYTES = 100
MAX_DOCUMENT_MEGABYTES = 200 if sys.version_info >= (3, 12) else 300
"""Calls that read or write whole states decode one, and have its JSON in memory beside it.

The largest takes 84 MB as objects with Python 3.13, and some copies of its 7 MB of JSON, in the
test client too. With 3.11 its texts of one character take 20 MB more, and there are more copies.
"""
MAX_PAGE_BYTES = 6_000_000

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


@pytest.fixture(autouse=True)
def frozen_objects() -> Iterator[None]:
    """Do not search what all tests before left in memory at each of hundreds of collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def walker(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client that keeps no copies of the contexts of templates."""
    monkeypatch.setattr("django.test.client.store_rendered_templates", lambda *_args, **_more: None)
    return admin_client


def check_call(name: str, call: Callable[[], Any], *, max_megabytes: int = MAX_MEGABYTES) -> Any:
    """Return the result of a call; fail if it is slow or takes much memory."""
    return check_cost(call, max_seconds=MAX_CPU_SECONDS, max_megabytes=max_megabytes, name=name)


def check_page(client: Client, url: str, query: dict[str, Any] | None = None) -> str:
    """Return the HTML of a page; fail if it is slow or large."""
    html = check_call(f"{url} {query}", lambda: read(client.get(url, query)))
    assert len(html.encode()) < MAX_PAGE_BYTES, f"{url} {query}: {len(html)} characters"
    return html


def check_document(client: Client, url: str) -> None:
    """Fail if a document that contains whole states is slow or takes much memory."""
    check_whole_states(url, lambda: len(read(client.get(url))))


def check_whole_states(name: str, call: Callable[[], int]) -> None:
    """Fail if a call that reads or writes whole states is slow or takes much memory."""
    assert check_call(name, call, max_megabytes=MAX_DOCUMENT_MEGABYTES)


def read(response: Any) -> str:
    """Return the body of a response; fail if it is an error."""
    assert response.status_code < 400, f"{response.status_code}: {body(response)[:500]}"
    return body(response)


@pytest.mark.parametrize("kind", WORST_STATES)
def test_every_page_and_call_of_the_worst_states_is_bounded(walker: Client, kind: str) -> None:
    for step in (1, 2):
        DjangoCheckpointer().save(worst_checkpoint(kind, kind, step))
    gc.collect()
    check_pages(walker, kind)
    check_document(walker, session_urls.get_url("raw", kind, 2))
    download_url = session_urls.get_url("download", kind)
    check_whole_states(
        download_url, lambda: len(next(iter(walker.get(download_url).streaming_content)))
    )
    if find_spec("rest_framework"):
        check_api(walker, kind)


def check_pages(client: Client, kind: str) -> None:
    step_url = session_urls.get_step_url(kind, 2)
    check_page(client, session_urls.get_changelist_url())
    check_page(client, session_urls.get_session_url(kind), {"nodes": "all"})
    check_page(client, step_url)
    check_page(client, step_url, {"whole": "yes", "errors": "all"})
    for pointer in ("", *POINTERS.get(kind, ())):
        check_page(client, session_urls.get_url("value", kind, 2), {"at": pointer})
    check_page(client, session_urls.get_compare_url(kind, 1, 2))
    for name in ("fork", "delete", "history"):
        check_page(client, session_urls.get_url(name, kind))
    preview = {"keep_last": "1", "stage": "preview"}
    prune_url = session_urls.get_url("prune")
    html = check_call(prune_url, lambda: read(client.post(prune_url, preview)))
    assert "1 step" in html


def check_api(client: Client, kind: str) -> None:
    url = f"/api/sessions/{kind}/"
    for path in ("latest/", "steps/", "steps/2/", "steps/?fields=step", "diff/?from=1&to=2"):
        check_document(client, url + path)
    saved = serde.dumps(worst_checkpoint(kind, kind, 3))
    gc.collect()
    numbers = count(1)

    def save() -> int:
        answer = client.put(f"{url}steps/3/", saved, content_type="application/json")
        return len(read(answer))

    def fork() -> int:
        fork = {"target": f"fork {next(numbers)}"}
        return len(read(client.post(f"{url}fork/", fork, content_type="application/json")))

    check_whole_states(f"PUT {url}steps/3/", save)
    check_whole_states(f"POST {url}fork/", fork)


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
