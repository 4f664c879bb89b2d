"""No parameter and no form causes a server error."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.admin.example_runs import BASE, body, get_page_urls, session_urls
from weavegraph_checkpoints.admin.forms import PruneForm

pytestmark = pytest.mark.django_db

# fmt: off
PARAMETERS = (
    "q", "p", "o", "e", "all", "status", "errors", "updated", "forked", "id", "last_state",
    "last_state__a", "owner__contains", "_facets", "_popup", "_to_field", "go", "node", "before",
    "after", "nodes", "messages", "whole", "from", "to", "other", "at", "offset",
)
# fmt: on
UNUSUAL_VALUES = (
    "",
    "0",
    "1",
    "-1",
    "3",
    "99",
    "9223372036854775807",
    "9223372036854775808",
    "9" * 5000,
    "1.5",
    "٣",
    "NaN",
    "\0",
    "a\0b",
    "yes",
    "no",
    "all",
    "error",
    "resumable",
    "run/1",
    "..",
    "/extra/map",
    "/extra/map/count",
    "/messages/items/0",
    "<script>",
    "'\"",
    "😀",
    "x" * 9000,
)
values = st.sampled_from(UNUSUAL_VALUES) | st.text(st.characters(codec="utf-8"), max_size=20)
queries = st.dictionaries(st.sampled_from(PARAMETERS), values, max_size=4)
reuse_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def get_page_names() -> list[str]:
    return list(get_page_urls("run/1", 3))


@reuse_fixtures
@given(data=st.data())
def test_any_parameter_of_any_page(admin_client: Client, run: str, data: st.DataObject) -> None:
    url = get_page_urls(run, 3)[data.draw(st.sampled_from(get_page_names()))].partition("?")[0]
    response = admin_client.get(url, data.draw(queries))
    assert response.status_code < 500
    body(response)


def test_an_empty_to_field_means_the_primary_key(admin_client: Client, run: str) -> None:
    for url in get_page_urls(run, 3).values():
        assert admin_client.get(url, {"_to_field": ""}).status_code < 500, url


@reuse_fixtures
@given(data=st.data())
def test_any_form(admin_client: Client, run: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["list", "fork", "prune"]))
    fields = {
        "list": ["action", "_selected_action", "index", "select_across", "post", "_save"],
        "fork": ["target", "at_step"],
        "prune": [*PruneForm.base_fields, "stage", "steps", "sessions"],
    }[name]
    choices: dict[str, st.SearchStrategy[Any]] = {
        "action": values | st.just("delete_selected"),
        "stage": st.sampled_from(["preview", "run"]),
        "delete_inactive": values | st.just("100w"),
    }
    form = {field: data.draw(choices.get(field, values)) for field in fields}
    assert admin_client.post(get_page_urls(run, 3)[name], form).status_code < 500


@reuse_fixtures
@given(
    session_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=300),
    step=st.integers(0, 2**70),
)
def test_missing_sessions_and_steps_are_404(
    admin_client: Client, session_id: str, step: int
) -> None:
    segment = quote(session_id, safe="")
    for page in ("change", "delete", "history", "compare", "fork", "download"):
        assert admin_client.get(f"{BASE}{segment}/{page}/", follow=True).status_code == 404
    for page in ("", "raw/", "value/"):
        assert (
            admin_client.get(f"{BASE}{segment}/steps/{step}/{page}", follow=True).status_code == 404
        )


@pytest.mark.parametrize("step", ["0", "7", str(2**63), "9" * 4000, "9" * 5000, "-1", "x", "1.0"])
@pytest.mark.parametrize("page", ["", "raw/", "value/"])
def test_a_missing_step_is_404(admin_client: Client, run: str, step: str, page: str) -> None:
    session = session_urls.get_session_url(run).removesuffix("change/")
    assert admin_client.get(f"{session}steps/{step}/{page}", follow=True).status_code == 404


@pytest.mark.parametrize(
    "at", ["/nothing", "extra", "/messages/items/-1", "/extra/map/deep/list/3"]
)
def test_a_missing_value_is_404(admin_client: Client, run: str, at: str) -> None:
    assert (
        admin_client.get(session_urls.get_url("value", run, 3, query={"at": at})).status_code == 404
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"go": "99"}, "There is no step 99. The nearest steps: 6."),
        ({"go": "0"}, "There is no step 0. The nearest steps: 1."),
        ({"go": "x"}, "Enter a step number: a whole number from 0."),
        ({"node": "a\0b"}, "This is not a valid node name."),
    ],
)
def test_invalid_parameters_show_the_page_with_a_message(
    admin_client: Client, run: str, query: dict[str, str], message: str
) -> None:
    html = body(admin_client.get(session_urls.get_session_url(run), query))
    assert message in html
    assert "The weave" in html


def test_a_missing_page_of_the_list_shows_the_first(admin_client: Client, run: str) -> None:
    for page in ("99", "-3", "0"):
        response = admin_client.get(session_urls.get_changelist_url(), {"p": page})
        assert response.status_code == 200
        assert run in body(response)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"from": "9", "to": "2"}, "There is no step 9. The nearest steps: 6."),
        ({"other": "nobody"}, "The session to compare with does not exist."),
    ],
)
def test_invalid_comparisons_show_a_message(
    admin_client: Client, run: str, query: dict[str, str], message: str
) -> None:
    assert message in body(admin_client.get(session_urls.get_url("compare", run), query))
