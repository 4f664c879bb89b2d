from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.admin.example_runs import body, session_urls
from tests.strategies import a_checkpoint
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = pytest.mark.django_db


def get_listed_ids(client: Client, **query: Any) -> list[str]:
    response = client.get(session_urls.get_changelist_url(), query)
    assert response.status_code == 200
    return [session.pk for session in response.context["cl"].result_list]


def create_session(session_id: str, *, hours_old: float = 0, **fields: Any) -> None:
    at = timezone.now() - timedelta(hours=hours_old)
    Session.objects.create(id=session_id, updated_at=at, **fields)


def test_sessions_are_listed_newest_first_ties_by_id(admin_client: Client) -> None:
    at = timezone.now()
    for session_id, age in (("old", 2), ("b", 1), ("a", 1), ("new", 0)):
        Session.objects.create(id=session_id, updated_at=at - timedelta(hours=age))
    assert get_listed_ids(admin_client) == ["new", "a", "b", "old"]
    column = get_columns(admin_client).index("updated")
    assert get_listed_ids(admin_client, o=column) == ["old", "b", "a", "new"]
    assert (
        get_listed_ids(admin_client, o=f"-{column}")
        == get_listed_ids(admin_client, o=1)
        == get_listed_ids(admin_client, o="x.-99")
        == get_listed_ids(admin_client)
    )


def get_columns(client: Client) -> list[str]:
    return list(client.get(session_urls.get_changelist_url()).context["cl"].list_display)


def test_filters_have_fixed_choices(admin_client: Client) -> None:
    create_session("finished", status="finished", hours_old=0.5)
    create_session("failed", status="resumable", last_error_count=2, hours_old=12)
    create_session("fork", status="resumable", forked_from="finished", hours_old=100)
    create_session("empty", hours_old=1_000)
    assert get_listed_ids(admin_client, status="resumable") == ["failed", "fork"]
    assert get_listed_ids(admin_client, errors="yes") == ["failed"]
    assert get_listed_ids(admin_client, errors="no") == ["finished", "fork", "empty"]
    assert [get_listed_ids(admin_client, updated=span) for span in ("hour", "day", "week")] == [
        ["finished"],
        ["finished", "failed"],
        ["finished", "failed", "fork"],
    ]
    assert get_listed_ids(admin_client, forked="yes") == ["fork"]
    assert get_listed_ids(admin_client, forked="no", status="resumable") == ["failed"]
    assert get_listed_ids(admin_client, errors="yes", status="resumable") == ["failed"]
    assert get_listed_ids(admin_client, forked="yes", status="finished") == []
    everything = get_listed_ids(admin_client)
    for name in ("status", "errors", "updated", "forked", "owner", "last_state"):
        assert get_listed_ids(admin_client, **{name: "nonsense"}) == everything


def test_search_by_id_then_by_prefix(admin_client: Client) -> None:
    for age, session_id in enumerate(["run", "run-1", "run-10", "Run-1", "run-2", "x run-1"]):
        create_session(session_id, hours_old=age)
    assert get_listed_ids(admin_client, q="run-1") == ["run-1"]
    assert get_listed_ids(admin_client, q="run-") == ["run-1", "run-10", "run-2"]
    assert (
        get_listed_ids(admin_client, q="run-%")
        == get_listed_ids(admin_client, q="un-1")
        == get_listed_ids(admin_client, q="z")
        == []
    )


@pytest.mark.parametrize("last", ["\ud7ff", "\U0010ffff", "é", "~", "\x01"])
def test_search_by_prefixes_with_special_last_characters(admin_client: Client, last: str) -> None:
    create_session(f"a{last}b")
    create_session("b")
    assert get_listed_ids(admin_client, q=f"a{last}") == [f"a{last}b"]


def test_the_owner_column_appears_if_a_session_has_an_owner(admin_client: Client) -> None:
    create_session("nobody's")
    assert "owner_name" not in get_columns(admin_client)
    create_session("somebody's", owner="me")
    assert "owner_name" in get_columns(admin_client)


def test_columns_of_a_row(admin_client: Client) -> None:
    create_session(
        "a", status="resumable", last_step=12_345, last_error_count=2, last_state_bytes=4_096
    )
    Session.objects.filter(pk="a").update(
        last_frontier=["Custom:plan", "Custom:act", "End", "Custom:x", 7],
        last_message_count=None,
        updated_at=timezone.now() - timedelta(seconds=185),
    )
    html = body(admin_client.get(session_urls.get_changelist_url()))
    for text in (
        "▶",
        "resumable",
        "plan, act, End",
        "+1",
        "12,345",
        "4.0\xa0KB",
        "3\xa0minutes ago",
        "! ",
    ):
        assert text.strip() in html


def test_an_empty_list_explains_how_to_start(admin_client: Client) -> None:
    assert "Save the first checkpoint" in body(admin_client.get(session_urls.get_changelist_url()))
    create_session("a")
    html = body(admin_client.get(session_urls.get_changelist_url(), {"q": "b"}))
    assert "Clear search and filters" in html
    assert "Save the first checkpoint" not in html


def test_actions_and_pages_never_cover_all_sessions(admin_client: Client) -> None:
    for number in range(60):
        create_session(f"s{number}")
    html = body(admin_client.get(session_urls.get_changelist_url(), {"all": ""}))
    assert html.count('name="_selected_action"') == 25
    assert "Show all" not in html
    assert "Select all 60" not in html
    admin_client.post(
        session_urls.get_changelist_url(),
        {"action": "delete_selected", "_selected_action": "s1", "select_across": "1"}
        | {"index": "0", "post": "yes"},
    )
    assert Session.objects.count() == 59


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "weavegraph_session_updated"),
        ({"errors": "yes"}, "weavegraph_session_failed"),
        ({"errors": "yes", "status": "resumable"}, "weavegraph_session_failed"),
        ({"forked": "yes"}, "weavegraph_session_forked"),
        ({"forked": "yes", "o": "6"}, "weavegraph_session_forked"),
    ],
)
def test_the_list_and_its_count_use_an_index(
    admin_client: Client, query: dict[str, str], index: str
) -> None:
    response = admin_client.get(session_urls.get_changelist_url(), query)
    rows = response.context["cl"].queryset
    for plan in (rows[:25].explain(), rows.order_by().values("pk")[:10_001].explain()):
        assert index in plan or not query
        assert "TEMP B-TREE" not in plan


@pytest.mark.vendor("sqlite")
@pytest.mark.parametrize(
    "query",
    [{}, {"status": "resumable"}, {"errors": "yes"}, {"updated": "week"}, {"forked": "yes"}],
    ids=str,
)
def test_the_count_reads_the_index_only(admin_client: Client, query: dict[str, str]) -> None:
    counts: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "COUNT(" in sql:
            counts.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        admin_client.get(session_urls.get_changelist_url(), query)
    [(sql, params)] = counts
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {sql}", params)
        operations = [row[1:5] for row in cursor.fetchall()]
    # SQLite seeks the row of an entry of an index when a column of it is asked for.
    rows = {table for name, _, _, table in operations if name == "DeferredSeek"}
    assert not rows & {cursor for name, cursor, *_ in operations if name == "Column"}
    assert not any(name == "SeekRowid" for name, *_ in operations)


def test_a_finished_session_has_no_next_nodes(admin_client: Client) -> None:
    DjangoCheckpointer().save(a_checkpoint("done", 1, frontier=["End"]))
    row = body(admin_client.get(session_urls.get_changelist_url()))
    assert "●" in row
    assert '<bdi class="weave-truncated">' not in row
