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


def shown(client: Client, session_id: str, **query: Any) -> dict[str, Any]:
    response = client.get(session_urls.get_session_url(session_id), query)
    assert response.status_code == 200
    return response.context_data  # type: ignore[attr-defined, no-any-return]


def numbers(context: dict[str, Any]) -> list[int]:
    return [row["step"] for row in context["steps"]]


def follow(client: Client, url: str) -> dict[str, Any]:
    response = client.get(url)
    assert response.status_code == 200
    return response.context_data  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 137])
def test_pages_lead_through_all_steps_and_back(root: Client, count: int) -> None:
    create_session_with_steps("run", count)
    context = shown(root, "run")
    assert context["newer_url"] is None
    down = [numbers(context)]
    while context["older_url"]:
        context = follow(root, context["older_url"])
        down.append(numbers(context))
    assert list(chain(*down)) == list(range(count, 0, -1))
    assert all(len(page) == 50 for page in down[:-1])
    up = [numbers(context)]
    while context["newer_url"]:
        context = follow(root, context["newer_url"])
        up.append(numbers(context))
    assert list(chain(*map(sorted, up))) == list(range(1, count + 1))


def test_every_step_knows_the_one_before_it_on_every_page(root: Client) -> None:
    create_session_with_steps("run", 120)
    for query in ({}, {"before": "70"}, {"after": "10"}, {"node": "plan"}):
        context = shown(root, "run", **query)
        assert {row["since"] for row in context["steps"] if row["step"] > 1} == {"1.0 s"}
        assert [column.step for column, _url in context["weave_columns"]] == sorted(
            numbers(context)
        )


def test_a_step_saved_after_its_successor_says_so_across_pages(root: Client) -> None:
    create_session_with_steps("run", 60)
    Step.objects.filter(step=10).update(created_at=START + timedelta(seconds=11.5))
    for query in ({}, {"before": "10"}, {"before": "30"}, {"after": "3"}, {"after": "9"}):
        rows = {row["step"]: row["is_late"] for row in shown(root, "run", **query)["steps"]}
        assert {step for step, is_late in rows.items() if is_late} == {10} & set(rows), query
    for query in ({"after": "0"}, {"after": "5"}):
        assert "saved after the next step" in body(
            root.get(session_urls.get_session_url("run"), query)
        )


def test_a_page_after_a_step_that_is_gone_still_shows_what_comes_after(root: Client) -> None:
    create_session_with_steps("run", 60)
    Step.objects.filter(step=20).delete()
    context = shown(root, "run", after="20")
    assert numbers(context) == list(range(60, 20, -1))
    assert context["older_url"] is None
    assert numbers(shown(root, "run", after="60")) == []


def test_a_node_is_searched_in_bounded_windows(root: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr("weavegraph_checkpoints.admin.queries.NODE_SEARCH_SIZE", 30)
    create_session_with_steps("run", 100)
    Step.objects.filter(step=5).update(ran_nodes=["Custom:rare"])
    Step.objects.filter(step=50).update(skipped_nodes=["Custom:rare"])
    context = shown(root, "run", node="rare")
    found, searched = numbers(context), [context["searched_to"]]
    while context["continue_url"]:
        context = follow(root, context["continue_url"])
        found += numbers(context)
        searched.append(context["searched_to"])
    assert found == [50, 5]
    assert searched == [70, 40, 10, None]
    assert numbers(shown(root, "run", node="Custom:rar")) == []


def test_the_header_says_where_the_run_stands(root: Client, run: str) -> None:
    html = body(root.get(session_urls.get_session_url(run)))
    assert "finished" in html
    assert "2 errors" in html
    context = shown(root, run)
    assert context["newest_error"]["step"] == 5
    assert context["first_error"]["step"] == 3
    assert context["newest_error"]["url"] in html


@pytest.mark.parametrize(("stride", "expected"), [(1, (701, 250)), (1_000, (701_000, 250_000))])
def test_errors_are_found_in_long_and_sparse_histories(
    root: Client, stride: int, expected: tuple[int, int]
) -> None:
    create_session_with_steps("run", 900)
    Step.objects.filter(step__gte=250).update(error_count=1)
    Step.objects.filter(step__gte=701).update(error_count=3)
    if stride > 1:
        for step in Step.objects.order_by("-step"):
            Step.objects.filter(pk=step.pk).update(step=step.step * stride)
    context = shown(root, "run")
    assert (context["newest_error"]["step"], context["first_error"]["step"]) == expected
    assert 30 <= context["timeline"].point_count <= 200
    assert context["timeline"].last.step == 900 * stride


def test_a_session_without_steps_says_so(root: Client) -> None:
    Session.objects.create(id="empty")
    html = body(root.get(session_urls.get_session_url("empty")))
    assert "This session has no steps yet." in html
    assert "The weave" not in html
    assert "This session has no steps yet." in body(root.get(session_urls.get_url("fork", "empty")))
    assert root.get(session_urls.get_url("compare", "empty")).status_code == 200


def test_go_to_a_step(root: Client, run: str) -> None:
    response = root.get(session_urls.get_session_url(run), {"go": " 4 "})
    assert response.status_code == 302
    assert response["Location"] == session_urls.get_step_url(run, 4)


def test_of_many_nodes_the_most_active_are_shown_until_all_are_asked_for(root: Client) -> None:
    nodes = [f"n{number}" for number in range(60)]
    DjangoCheckpointer().save(a_checkpoint("run", 1, ran_nodes=nodes, frontier=[]))
    context = shown(root, "run")
    assert (len(context["weave_rows"]), context["weave"].node_count) == (40, 60)
    html = body(root.get(session_urls.get_session_url("run"), {"nodes": "all"}))
    assert html.count('<th scope="row"><a href="') == 60
    assert "Show all 60" not in html


def test_rows_that_others_wrote_badly_are_shown(root: Client) -> None:
    Session.objects.create(id="odd")
    Step.objects.create(
        session_id="odd", step=1, frontier={"a": 1}, ran_nodes="x", skipped_nodes=[1, None, "y"],
        updated_channels=None, versions_seen=[], state={"no": "state"},
    )  # fmt: skip
    assert "y" in body(root.get(session_urls.get_session_url("odd")))
    assert "This step cannot be read" in body(root.get(session_urls.get_step_url("odd", 1)))
    assert "One of the steps cannot be read" in body(
        root.get(session_urls.get_url("compare", "odd"))
    )
    assert root.get(session_urls.get_url("raw", "odd", 1)).status_code == 404
    assert root.get(session_urls.get_url("value", "odd", 1)).status_code == 404
    assert '"broken":' in body(root.get(session_urls.get_url("download", "odd")))


def test_the_origin_of_a_fork_is_a_link(root: Client, run: str) -> None:
    DjangoCheckpointer().fork_session(run, "fork", at_step=3)
    html = body(root.get(session_urls.get_session_url("fork")))
    assert f'href="{session_urls.get_session_url(run)}"' in html
    assert f'href="{session_urls.get_step_url(run, 3)}"' in html
    assert f'href="{session_urls.get_session_url(run)}"' in body(
        root.get(session_urls.get_changelist_url())
    )


def test_a_run_whose_errors_went_away_has_no_strip(root: Client) -> None:
    event = ErrorEvent(error=WeaveError(message="gone"))
    checkpointer = DjangoCheckpointer()
    checkpointer.save(a_checkpoint("run", 1, state=VersionedState.new(errors=[event])))
    checkpointer.save(a_checkpoint("run", 2))
    assert "weave-error-note" not in body(root.get(session_urls.get_session_url("run")))


def test_of_many_nodes_in_one_place_the_first_are_shown(root: Client) -> None:
    nodes = [f"node-{number}" for number in range(10)]
    step = a_checkpoint("run", 1, frontier=nodes, ran_nodes=nodes, skipped_nodes=nodes[:8])
    DjangoCheckpointer().save(step)
    context = shown(root, "run")
    assert (context["next_nodes"], context["next_hidden"]) == (nodes[:8], 2)
    ran, skipped, channels = context["steps"][0]["names"]
    assert (ran["shown"], ran["hidden"]) == (nodes[:8], 2)
    assert (skipped["shown"], skipped["hidden"], channels["shown"]) == (nodes[:8], 0, [])
    assert body(root.get(session_urls.get_session_url("run"))).count("+2</span>") == 2


def test_a_number_in_an_address_or_a_field_is_never_grouped(root: Client) -> None:
    for step in (1_500, 1_501):
        DjangoCheckpointer().save(a_checkpoint("run", step))
    with override_settings(USE_THOUSAND_SEPARATOR=True):
        session = body(root.get(session_urls.get_session_url("run")))
        assert session.count('value="1501"') == 2
        assert f'href="{session_urls.get_step_url("run", 1_501)}"' in session
        compare = body(root.get(session_urls.get_compare_url("run", 1_500, 1_501)))
        assert 'value="1500"' in compare
        fork = body(root.get(session_urls.get_url("fork", "run")))
        assert 'value="1501"' in fork
