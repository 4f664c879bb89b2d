from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import Any

import pytest
from django.test import Client, override_settings

from tests.admin.example_runs import START, body, create_session_with_steps, session_urls
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import ErrorEvent, VersionedState, WeaveError
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.django_db


def get_context(client: Client, session_id: str, **query: Any) -> dict[str, Any]:
    response = client.get(session_urls.get_session_url(session_id), query)
    assert response.status_code == 200
    return response.context_data  # type: ignore[attr-defined, no-any-return]


def get_numbers(context: dict[str, Any]) -> list[int]:
    return [row["step"] for row in context["steps"]]


def follow(client: Client, url: str) -> dict[str, Any]:
    response = client.get(url)
    assert response.status_code == 200
    return response.context_data  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 137])
def test_pagination_forwards_and_backwards(admin_client: Client, count: int) -> None:
    create_session_with_steps("run", count)
    context = get_context(admin_client, "run")
    assert context["newer_url"] is None
    down = [get_numbers(context)]
    while context["older_url"]:
        context = follow(admin_client, context["older_url"])
        down.append(get_numbers(context))
    assert list(chain(*down)) == list(range(count, 0, -1))
    assert all(len(page) == 50 for page in down[:-1])
    up = [get_numbers(context)]
    while context["newer_url"]:
        context = follow(admin_client, context["newer_url"])
        up.append(get_numbers(context))
    assert list(chain(*map(sorted, up))) == list(range(1, count + 1))


def test_every_row_shows_the_time_since_the_previous_step(admin_client: Client) -> None:
    create_session_with_steps("run", 120)
    for query in ({}, {"before": "70"}, {"after": "10"}, {"node": "plan"}):
        context = get_context(admin_client, "run", **query)
        assert {row["since"] for row in context["steps"] if row["step"] > 1} == {"1.0 s"}
        assert [column.step for column, _url in context["weave_columns"]] == sorted(
            get_numbers(context)
        )


def test_steps_saved_after_the_next_step_are_marked_on_every_page(admin_client: Client) -> None:
    create_session_with_steps("run", 60)
    Step.objects.filter(step=10).update(created_at=START + timedelta(seconds=11.5))
    for query in ({}, {"before": "10"}, {"before": "30"}, {"after": "3"}, {"after": "9"}):
        rows = {
            row["step"]: row["is_late"]
            for row in get_context(admin_client, "run", **query)["steps"]
        }
        assert {step for step, is_late in rows.items() if is_late} == {10} & set(rows), query
    for query in ({"after": "0"}, {"after": "5"}):
        assert "saved after the next step" in body(
            admin_client.get(session_urls.get_session_url("run"), query)
        )


def test_a_page_after_a_deleted_step_shows_the_following_steps(admin_client: Client) -> None:
    create_session_with_steps("run", 60)
    Step.objects.filter(step=20).delete()
    context = get_context(admin_client, "run", after="20")
    assert get_numbers(context) == list(range(60, 20, -1))
    assert context["older_url"] is None
    assert get_numbers(get_context(admin_client, "run", after="60")) == []


def test_node_search_covers_a_limited_number_of_steps_per_request(
    admin_client: Client, monkeypatch: Any
) -> None:
    monkeypatch.setattr("weavegraph_checkpoints.admin.queries.NODE_SEARCH_SIZE", 30)
    create_session_with_steps("run", 100)
    Step.objects.filter(step=5).update(ran_nodes=["Custom:rare"])
    Step.objects.filter(step=50).update(skipped_nodes=["Custom:rare"])
    context = get_context(admin_client, "run", node="rare")
    found, searched = get_numbers(context), [context["searched_to"]]
    while context["continue_url"]:
        context = follow(admin_client, context["continue_url"])
        found += get_numbers(context)
        searched.append(context["searched_to"])
    assert found == [50, 5]
    assert searched == [70, 40, 10, None]
    assert get_numbers(get_context(admin_client, "run", node="Custom:rar")) == []


def test_the_summary_shows_status_and_errors(admin_client: Client, run: str) -> None:
    html = body(admin_client.get(session_urls.get_session_url(run)))
    assert "finished" in html
    assert "2 errors" in html
    context = get_context(admin_client, run)
    assert context["newest_error"]["step"] == 5
    assert context["first_error"]["step"] == 3
    assert context["newest_error"]["url"] in html


@pytest.mark.parametrize(("stride", "expected"), [(1, (701, 250)), (1_000, (701_000, 250_000))])
def test_error_steps_of_long_and_sparse_histories(
    admin_client: Client, stride: int, expected: tuple[int, int]
) -> None:
    create_session_with_steps("run", 900)
    Step.objects.filter(step__gte=250).update(error_count=1)
    Step.objects.filter(step__gte=701).update(error_count=3)
    if stride > 1:
        for step in Step.objects.order_by("-step"):
            Step.objects.filter(pk=step.pk).update(step=step.step * stride)
    context = get_context(admin_client, "run")
    assert (context["newest_error"]["step"], context["first_error"]["step"]) == expected
    assert 30 <= context["timeline"].point_count <= 200
    assert context["timeline"].last.step == 900 * stride


def test_a_session_without_steps(admin_client: Client) -> None:
    Session.objects.create(id="empty")
    html = body(admin_client.get(session_urls.get_session_url("empty")))
    assert "This session has no steps yet." in html
    assert "The weave" not in html
    assert "This session has no steps yet." in body(
        admin_client.get(session_urls.get_url("fork", "empty"))
    )
    assert admin_client.get(session_urls.get_url("compare", "empty")).status_code == 200


def test_go_to_a_step(admin_client: Client, run: str) -> None:
    response = admin_client.get(session_urls.get_session_url(run), {"go": " 4 "})
    assert response.status_code == 302
    assert response["Location"] == session_urls.get_step_url(run, 4)


def test_the_most_active_nodes_are_shown_by_default(admin_client: Client) -> None:
    nodes = [f"n{number}" for number in range(60)]
    DjangoCheckpointer().save(a_checkpoint("run", 1, ran_nodes=nodes, frontier=[]))
    context = get_context(admin_client, "run")
    assert (len(context["weave_rows"]), context["weave"].node_count) == (40, 60)
    html = body(admin_client.get(session_urls.get_session_url("run"), {"nodes": "all"}))
    assert html.count('<th scope="row"><a href="') == 60
    assert "Show all 60" not in html


def test_invalid_rows_are_shown(admin_client: Client) -> None:
    Session.objects.create(id="odd")
    Step.objects.create(
        session_id="odd", step=1, frontier={"a": 1}, ran_nodes="x", skipped_nodes=[1, None, "y"],
        updated_channels=None, versions_seen=[], state={"no": "state"},
    )  # fmt: skip
    assert "y" in body(admin_client.get(session_urls.get_session_url("odd")))
    assert "This step cannot be read" in body(admin_client.get(session_urls.get_step_url("odd", 1)))
    assert "One of the steps cannot be read" in body(
        admin_client.get(session_urls.get_url("compare", "odd"))
    )
    assert admin_client.get(session_urls.get_url("raw", "odd", 1)).status_code == 404
    assert admin_client.get(session_urls.get_url("value", "odd", 1)).status_code == 404
    assert '"broken":' in body(admin_client.get(session_urls.get_url("download", "odd")))


def test_the_origin_of_a_fork_is_a_link(admin_client: Client, run: str) -> None:
    DjangoCheckpointer().fork_session(run, "fork", at_step=3)
    html = body(admin_client.get(session_urls.get_session_url("fork")))
    assert f'href="{session_urls.get_session_url(run)}"' in html
    assert f'href="{session_urls.get_step_url(run, 3)}"' in html
    assert f'href="{session_urls.get_session_url(run)}"' in body(
        admin_client.get(session_urls.get_changelist_url())
    )


def test_no_error_summary_if_the_last_step_has_no_errors(admin_client: Client) -> None:
    event = ErrorEvent(error=WeaveError(message="gone"))
    checkpointer = DjangoCheckpointer()
    checkpointer.save(a_checkpoint("run", 1, state=VersionedState.new(errors=[event])))
    checkpointer.save(a_checkpoint("run", 2))
    assert "weave-error-note" not in body(admin_client.get(session_urls.get_session_url("run")))


def test_long_lists_of_nodes_are_truncated(admin_client: Client) -> None:
    nodes = [f"node-{number}" for number in range(10)]
    step = a_checkpoint("run", 1, frontier=nodes, ran_nodes=nodes, skipped_nodes=nodes[:8])
    DjangoCheckpointer().save(step)
    context = get_context(admin_client, "run")
    assert (context["next_nodes"], context["next_hidden"]) == (nodes[:8], 2)
    ran, skipped, channels = context["steps"][0]["names"]
    assert (ran["shown"], ran["hidden"]) == (nodes[:8], 2)
    assert (skipped["shown"], skipped["hidden"], channels["shown"]) == (nodes[:8], 0, [])
    assert body(admin_client.get(session_urls.get_session_url("run"))).count("+2</span>") == 2


def test_numbers_in_urls_and_fields_have_no_thousand_separators(admin_client: Client) -> None:
    for step in (1_500, 1_501):
        DjangoCheckpointer().save(a_checkpoint("run", step))
    with override_settings(USE_THOUSAND_SEPARATOR=True):
        session = body(admin_client.get(session_urls.get_session_url("run")))
        assert session.count('value="1501"') == 2
        assert f'href="{session_urls.get_step_url("run", 1_501)}"' in session
        compare = body(admin_client.get(session_urls.get_compare_url("run", 1_500, 1_501)))
        assert 'value="1500"' in compare
        fork = body(admin_client.get(session_urls.get_url("fork", "run")))
        assert 'value="1501"' in fork
