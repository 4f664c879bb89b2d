"""Lists: filters, ordering, pagination and the number of queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from tests.api.clients import ALL, SESSIONS, assert_error, create_client, session_url
from tests.api.queries import capture_app_queries
from tests.builders import save_history
from tests.strategies import a_checkpoint, session_ids, storable_text
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

ONE, TWO = "2026-05-04T13:00:00Z", "2026-05-04T14:00:00Z"
EVERYTHING = ["run%1", "Run-1", "run-10", "run-1"]
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def ids(client: Client, query: str) -> list[str]:
    answer = client.get(f"{SESSIONS}?{query}")
    assert answer.status_code == 200, answer.content
    page = answer.json()
    found = [each["id"] for each in page["results"]]
    if "offset" not in query and "limit=0" not in query and page["next"] is None:
        assert page["count"] == len(found)
    return found


@pytest.fixture
def four(db: Any) -> None:
    """Four sessions, updated one hour apart."""
    for hour, (session_id, owner, status) in enumerate(
        [
            ("run-1", "ann", "finished"),
            ("run-10", "bob", "resumable"),
            ("Run-1", "", "empty"),
            ("run%1", "ann", "resumable"),
        ]
    ):
        Session.objects.create(
            id=session_id, owner=owner, status=status, updated_at=NOON + timedelta(hours=hour)
        )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", EVERYTHING),
        ("id=run-1", ["run-1"]),
        ("id=run", []),
        ("id=", []),
        ("id=" + "x" * 300, []),
        ("search=run-1", ["run-10", "run-1"]),
        ("search=Run", ["Run-1"]),
        ("search=r", ["run%1", "run-10", "run-1"]),
        ("search=run%25", ["run%1"]),
        ("search=run_", []),
        ("search=%25", []),
        ("search=run-1%20", []),
        ("search=", EVERYTHING),
        ("search=" + "x" * 300, []),
        ("status=resumable", ["run%1", "run-10"]),
        ("status=empty", ["Run-1"]),
        ("owner=ann", ["run%1", "run-1"]),
        ("owner=Ann", []),
        ("owner=", ["Run-1"]),
        ("owner=ann&status=finished&search=run", ["run-1"]),
        ("updated_after=2026-05-04T14:00:00Z", ["run%1", "Run-1"]),
        ("updated_after=2026-05-04T14:00:00.000001Z", ["run%1"]),
        ("updated_after=2026-05-04T16:30:00%2B02:00", ["run%1"]),
        ("updated_before=2026-05-04T13:00:00Z", ["run-10", "run-1"]),
        ("updated_before=2026-05-04T12:59:59.999999Z", ["run-1"]),
        (
            "updated_after=2026-05-04T13:00:00Z&updated_before=2026-05-04T14:00:00Z",
            ["Run-1", "run-10"],
        ),
        ("updated_after=9999-12-31T23:59:59Z", []),
        ("updated_before=0001-01-01T00:00:00Z", []),
        ("ordering=id", ["Run-1", "run%1", "run-1", "run-10"]),
        ("ordering=-id", ["run-10", "run-1", "run%1", "Run-1"]),
        ("ordering=updated_at", ["run-1", "run-10", "Run-1", "run%1"]),
        ("ordering=-updated_at", EVERYTHING),
        ("limit=2&ordering=id", ["Run-1", "run%1"]),
        ("limit=2&offset=3&ordering=id", ["run-10"]),
        ("limit=0", []),
        ("offset=9223372036854775807", []),
        ("limit=9223372036854775807", EVERYTHING),
        (
            "id__startswith=x&last_state__extra=1&unknown=%00&order_by=pk",
            ["run%1", "Run-1", "run-10", "run-1"],
        ),
    ],
)
def test_filters_and_order(api: Client, four: None, query: str, found: list[str]) -> None:
    assert ids(api, query) == found


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=1.0", "limit"),
        ("limit=", "limit"),
        ("limit=true", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=9223372036854775808", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("offset=-1", "offset"),
        ("offset=1e3", "offset"),
        ("offset=%00", "offset"),
        ("status=done", "status"),
        ("status=", "status"),
        ("status=Empty", "status"),
        ("ordering=owner", "ordering"),
        ("ordering=last_state__extra", "ordering"),
        ("ordering=--id", "ordering"),
        ("ordering=?", "ordering"),
        ("ordering=id,updated_at", "ordering"),
        ("updated_after=yesterday", "updated_after"),
        ("updated_after=2026-05-04", "updated_after"),
        ("updated_after=2026-05-04T12:00:00", "updated_after"),
        ("updated_after=2026-05-04T12:00:00+02:00", "updated_after"),
        ("updated_before=2026-13-04T12:00:00Z", "updated_before"),
        ("updated_before=", "updated_before"),
        ("id=%00", "id"),
        ("search=a%00", "search"),
        ("owner=%00", "owner"),
    ],
)
def test_invalid_parameters_of_sessions(api: Client, four: None, query: str, path: str) -> None:
    assert_error(api.get(f"{SESSIONS}?{query}"), 400, "invalid", path)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("offset=x", "offset"),
        ("min_step=9223372036854775808", "min_step"),
        ("max_step=01", "max_step"),
        ("max_step=" + "1" * 5000, "max_step"),
        ("ran_node=%00", "ran_node"),
        ("skipped_node=a%00b", "skipped_node"),
        ("fields=", "fields"),
        ("fields=step,", "fields"),
        ("fields=step,id", "fields"),
        ("fields=state.messages", "fields"),
        ("fields=__class__", "fields"),
    ],
)
def test_invalid_parameters_of_steps(
    api: Client, checkpointer: DjangoCheckpointer, query: str, path: str
) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    assert_error(api.get(session_url("a", f"steps/?{query}")), 400, "invalid", path)


def test_next_links_lead_through_every_page(api: Client, db: Any) -> None:
    Session.objects.bulk_create(Session(id=f"a b&?%/{number:03}") for number in range(250))
    query = f"limit=100&ordering=id&search={quote('a b&?%/', safe='')}&owner="
    url, found = f"{SESSIONS}?{query}", []
    while url:
        page = api.get(url).json()
        assert page["count"] == 250
        found += [each["id"] for each in page["results"]]
        url = page["next"]
    assert found == [f"a b&?%/{number:03}" for number in range(250)]
    back = api.get(f"{SESSIONS}?{query}&offset=200").json()["previous"]
    assert [each["id"] for each in api.get(back).json()["results"]] == found[100:200]
    assert len(ids(api, "")) == 100


def test_a_page_has_at_most_1000_results(api: Client, db: Any) -> None:
    Session.objects.bulk_create(Session(id=f"{number}") for number in range(1005))
    page = api.get(f"{SESSIONS}?limit=5000").json()
    assert (page["count"], len(page["results"])) == (1005, 1000)
    assert "limit=1000&offset=1000" in page["next"]


def test_a_page_of_steps_ends_at_8_mebibytes(api: Client, checkpointer: DjangoCheckpointer) -> None:
    for step in range(3):
        state = VersionedState.new_with_user_message("x" * 3_000_000)
        checkpointer.save(a_checkpoint("a", step, state=state))
    page = api.get(session_url("a", "steps/")).json()
    assert [each["step"] for each in page["checkpoints"]] == [2, 1]
    info = {"total_count": 3, "page_size": 2, "offset": 0, "has_next_page": True}
    assert page["page_info"] == info


def test_steps_by_cursor(api: Client, checkpointer: DjangoCheckpointer) -> None:
    save_history(checkpointer, "a", range(0, 50, 5))
    found, query = [], "limit=3"
    while True:
        steps = [
            each["step"]
            for each in api.get(session_url("a", f"steps/?{query}&fields=step")).json()[
                "checkpoints"
            ]
        ]
        found += steps
        if len(steps) < 3:
            break
        query = f"limit=3&max_step={steps[-1] - 1}"
    assert found == list(range(45, -1, -5))


class TestSearch(TestCase):
    @given(st.lists(session_ids(), unique=True, max_size=8), storable_text(max_size=3))
    def test_matches_a_prefix_byte_for_byte(self, stored: list[str], prefix: str) -> None:
        Session.objects.bulk_create(Session(id=each) for each in stored)
        client = create_client(*ALL)
        found = client.get(SESSIONS, {"search": prefix, "ordering": "id"}).json()["results"]
        expected = sorted(each for each in stored if each.startswith(prefix))
        assert [each["id"] for each in found] == expected


@pytest.mark.parametrize("prefix", ["\ud7ff", "a\ud7ff", "\U0010ffff", "a\U0010ffff\U0010ffff"])
def test_search_at_the_boundaries_of_the_code_points(api: Client, db: Any, prefix: str) -> None:
    others = ["\ue000", "a\ue000", "b", "a", "\U0010fffe"]
    stored = {prefix, prefix + "x", prefix + "\U0010ffff", *others}
    Session.objects.bulk_create(Session(id=each) for each in stored)
    assert set(ids(api, f"search={quote(prefix)}")) == {
        each for each in stored if each.startswith(prefix)
    }


@pytest.mark.parametrize(
    ("fields", "reads_the_state"),
    [
        ("step", False),
        ("session_id,step,created_at", False),
        ("url", False),
        (
            "frontier,versions_seen,concurrency_limit,ran_nodes,skipped_nodes,updated_channels",
            False,
        ),
        ("state", True),
        ("step,state", True),
        (None, True),
    ],
)
def test_fields(
    api: Client, checkpointer: DjangoCheckpointer, fields: str | None, reads_the_state: bool
) -> None:
    save_history(checkpointer, "a", range(3))
    path = session_url("a", "steps/")
    whole = api.get(path).json()
    query = "" if fields is None else f"?fields={fields}"
    answer, statements = capture_app_queries(lambda: api.get(path + query))
    page = answer.json()
    assert page["page_info"] == whole["page_info"]
    wanted = None if fields is None else {"url", *fields.split(",")}
    for found, full in zip(page["checkpoints"], whole["checkpoints"], strict=True):
        assert found == {key: full[key] for key in full if wanted is None or key in wanted}
    read = [sql for sql in statements if "FROM" in sql and _names_the_state(sql)]
    assert bool(read) is reads_the_state


def _names_the_state(sql: str) -> bool:
    columns = sql.replace("state_bytes", "").replace("last_state_bytes", "")
    return " state" in columns or "last_state" in columns or '"state"' in columns


def test_lists_read_no_state_in_a_constant_number_of_queries(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    counts = []
    for size in (2, 40):
        for number in range(size):
            save_history(checkpointer, f"run-{size}-{number}", [1])
            checkpointer.set_labels(f"run-{size}-{number}", {"env": "test", "team": ""})
        save_history(checkpointer, f"deep-{size}", range(size))
        asked = []
        for path in (
            SESSIONS,
            f"{SESSIONS}?search=run&status=resumable&owner=&ordering=id&limit=20",
            f"{SESSIONS}?label=env:test&label=team:",
            session_url(f"run-{size}-0"),
            session_url(f"deep-{size}", "steps/?fields=step,ran_nodes"),
            session_url(f"deep-{size}", "steps/"),
        ):
            answer, statements = capture_app_queries(lambda path=path: api.get(path))
            assert answer.status_code == 200
            asked.append(len(statements))
            if path != session_url(f"deep-{size}", "steps/"):
                assert not any(_names_the_state(sql) for sql in statements)
        counts.append(asked)
    assert counts[0] == counts[1] == [3, 3, 4, 2, 2, 2]
    described = SchemaGenerator().get_schema(request=None, public=True)["paths"][SESSIONS]["get"]
    assert "Three queries, whatever its size, and one more" in described["description"]


def test_the_number_of_queries_of_the_other_calls(
    api: Client, checkpointer: DjangoCheckpointer
) -> None:
    for size in (2, 40):
        save_history(checkpointer, f"a-{size}", range(size))
        for path, number in (
            ("latest/", 1),
            ("steps/1/", 1),
            ("diff/?from=0&to=1", 2),
            ("steps/?min_step=1000", 2),
        ):
            url = session_url(f"a-{size}", path)
            _answer, statements = capture_app_queries(lambda url=url: api.get(url))
            assert len(statements) == number, path
