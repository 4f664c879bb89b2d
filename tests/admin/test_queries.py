"""How many queries each page takes, and which columns they never read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.admin.example_runs import body, create_session_with_steps, get_page_urls, session_urls
from weavegraph_checkpoints.models import Label, Session
from weavegraph_checkpoints.querysets import SessionQuerySet, StepQuerySet

pytestmark = pytest.mark.django_db

SIGNED_IN = 2
"""Queries that authenticate the request: the browser session and the user."""

QUERIES = {
    "list": 4,
    "list, filtered": 4,
    "list, searched": 5,
    "session": 5,
    "session, middle": 6,
    "session, from the oldest": 5,
    "session, one node": 7,
    "follow": 5,
    "step": 6,
    "value": 3,
    "compare": 9,
    "raw": 2,
    "log": 3,
    "fork": 1,
    "labels": 2,
    "delete": 3,
    "prune": 0,
}
"""Queries of each page, without those that authenticate."""


def get_urls(session_id: str, count: int) -> dict[str, str]:
    pages = get_page_urls(session_id, count // 2)
    del pages["download"]
    return pages | {
        "list, filtered": f"{pages['list']}?status=resumable&errors=no&updated=week&forked=no",
        "list, searched": f"{pages['list']}?q=many",
        "session, middle": session_urls.get_session_url(session_id, before=count // 2),
        "session, from the oldest": session_urls.get_session_url(session_id, after=1),
    }


def count_queries(client: Client, session_id: str, count: int) -> dict[str, int]:
    numbers = {}
    for name, url in get_urls(session_id, count).items():
        client.get(url)
        with CaptureQueriesContext(connection) as captured:
            assert client.get(url).status_code == 200
        numbers[name] = len(captured) - SIGNED_IN
    return numbers


def test_the_number_of_queries_is_the_same_at_10_and_100_steps(admin_client: Client) -> None:
    create_session_with_steps("many-10", 10)
    create_session_with_steps("many-100", 100)
    assert count_queries(admin_client, "many-10", 10) == QUERIES
    assert count_queries(admin_client, "many-100", 100) == QUERIES


@pytest.mark.vendor("sqlite")
def test_the_number_of_queries_is_the_same_at_10_000_steps(admin_client: Client) -> None:
    create_session_with_steps("many-10000", 10_000)
    assert count_queries(admin_client, "many-10000", 10_000) == QUERIES


@pytest.mark.parametrize(
    "count", [10, 100, pytest.param(10_100, marks=pytest.mark.vendor("sqlite"))]
)
def test_the_number_of_queries_does_not_depend_on_the_number_of_sessions(
    admin_client: Client, count: int
) -> None:
    create_session_with_steps("many-first", 10)
    sessions = [Session(id=f"s{number:06}", status="resumable") for number in range(count)]
    Session.objects.bulk_create(sessions, batch_size=500)
    numbers = count_queries(admin_client, "many-first", 10)
    assert numbers == QUERIES
    text = body(admin_client.get(session_urls.get_changelist_url()))
    assert text.count('name="_selected_action"') == min(count + 1, 25)
    assert ("10,000+" in text) == (count > 10_000)


def test_labels_cost_one_query_a_page_and_one_to_find_them(admin_client: Client) -> None:
    url = session_urls.get_changelist_url()
    for count in (2, 40):
        ids = [f"many-{count}-{number}" for number in range(count)]
        Session.objects.bulk_create(Session(id=session_id) for session_id in ids)
        Label.objects.bulk_create(
            Label(session_id=session_id, key=key, value="x")
            for session_id in ids
            for key in ("a", "b", "c", "d")
        )
        numbers = []
        for query in ("", "?q=a%3Dx b%3Dx", "?label=a:x"):
            with CaptureQueriesContext(connection) as captured:
                assert admin_client.get(f"{url}{query}").status_code == 200
            numbers.append(len(captured) - SIGNED_IN)
        assert numbers == [5, 8, 6]


@contextmanager
def forbid_deferred_loading() -> Iterator[None]:
    """Raise an error when a list loads a deferred column, if Django supports it."""
    refuse = getattr(models, "FETCH_RAISE", None)
    if refuse is None:
        yield
        return
    session_light, step_light = SessionQuerySet.defer_state, StepQuerySet.defer_state

    def light(original: Any) -> Any:
        return lambda rows: original(rows).fetch_mode(refuse)

    with (
        patch.object(SessionQuerySet, "defer_state", light(session_light)),
        patch.object(StepQuerySet, "defer_state", light(step_light)),
    ):
        yield


SHOWS_A_STATE = {"step", "value", "compare", "raw"}


def test_only_pages_that_show_a_state_load_one(admin_client: Client) -> None:
    create_session_with_steps("many", 60)
    with forbid_deferred_loading():
        for name, url in get_urls("many", 60).items():
            with CaptureQueriesContext(connection) as captured:
                assert admin_client.get(url).status_code == 200, name
            selected = [query["sql"].partition(" FROM ")[0] for query in captured]
            quote = connection.ops.quote_name
            reads = [
                sql
                for sql in selected
                if quote("state") in sql or ("last_state" in sql and quote("last_state") in sql)
            ]
            assert not reads, name
            loads = [query for query in captured if "concurrency_limit FROM" in query["sql"]]
            assert len(loads) == {"compare": 2, "step": 2}.get(name, int(name in SHOWS_A_STATE)), (
                name
            )


def test_a_download_loads_one_state_at_a_time(admin_client: Client) -> None:
    create_session_with_steps("many", 20)
    response = admin_client.get(session_urls.get_url("download", "many"))
    with CaptureQueriesContext(connection) as captured:
        lines = iter(response.streaming_content)  # type: ignore[attr-defined]
        next(lines)
        assert len(captured) == 2
        assert len(list(lines)) == 19
    assert len(captured) == 22
