"""Whatever one asks for, the answer is a page, a redirect or a refusal, never a fault."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.admin.example_runs import BASE, body, get_page_urls, session_urls
from weavegraph_checkpoints.admin.views.prune import PruneForm

pytestmark = pytest.mark.django_db

# fmt: off
PARAMETERS = (
    "q", "p", "o", "e", "all", "status", "errors", "updated", "forked", "id", "last_state",
    "last_state__a", "owner__contains", "_facets", "_popup", "_to_field", "go", "node", "before",
    "after", "nodes", "messages", "whole", "from", "to", "other", "at", "offset",
)
# fmt: on
AWKWARD = (
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
values = st.sampled_from(AWKWARD) | st.text(st.characters(codec="utf-8"), max_size=20)
queries = st.dictionaries(st.sampled_from(PARAMETERS), values, max_size=4)
careless = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def names_of_pages() -> list[str]:
    return list(get_page_urls("run/1", 3))


@careless
@given(data=st.data())
def test_any_parameter_of_any_page(root: Client, run: str, data: st.DataObject) -> None:
    url = get_page_urls(run, 3)[data.draw(st.sampled_from(names_of_pages()))].partition("?")[0]
    response = root.get(url, data.draw(queries))
    assert response.status_code < 500
    body(response)


@careless
@given(data=st.data())
def test_any_form(root: Client, run: str, data: st.DataObject) -> None:
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
    assert root.post(get_page_urls(run, 3)[name], form).status_code < 500


@careless
@given(
    session_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=300),
    step=st.integers(0, 2**70),
)
def test_any_session_and_step_that_are_not_there(root: Client, session_id: str, step: int) -> None:
    segment = quote(session_id, safe="")
    for page in ("change", "delete", "history", "compare", "fork", "download"):
        assert root.get(f"{BASE}{segment}/{page}/", follow=True).status_code == 404
    for page in ("", "raw/", "value/"):
        assert root.get(f"{BASE}{segment}/steps/{step}/{page}", follow=True).status_code == 404


@pytest.mark.parametrize("step", ["0", "7", str(2**63), "9" * 4000, "9" * 5000, "-1", "x", "1.0"])
@pytest.mark.parametrize("page", ["", "raw/", "value/"])
def test_a_step_that_is_not_there_is_404(root: Client, run: str, step: str, page: str) -> None:
    session = session_urls.get_session_url(run).removesuffix("change/")
    assert root.get(f"{session}steps/{step}/{page}", follow=True).status_code == 404


@pytest.mark.parametrize(
    "at", ["/nothing", "extra", "/messages/items/-1", "/extra/map/deep/list/3"]
)
def test_a_value_that_is_not_there_is_404(root: Client, run: str, at: str) -> None:
    assert root.get(session_urls.get_url("value", run, 3, query={"at": at})).status_code == 404


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"go": "99"}, "There is no step 99. The nearest steps: 6."),
        ({"go": "0"}, "There is no step 0. The nearest steps: 1."),
        ({"go": "x"}, "Enter a step number: a whole number from 0."),
        ({"node": "a\0b"}, "This is not a valid node name."),
    ],
)
def test_nonsense_is_the_page_with_a_message(
    root: Client, run: str, query: dict[str, str], message: str
) -> None:
    html = body(root.get(session_urls.get_session_url(run), query))
    assert message in html
    assert "The weave" in html


def test_a_page_of_the_list_that_is_not_there_is_the_first(root: Client, run: str) -> None:
    for page in ("99", "-3", "0"):
        response = root.get(session_urls.get_changelist_url(), {"p": page})
        assert response.status_code == 200
        assert run in body(response)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"from": "9", "to": "2"}, "There is no step 9. The nearest steps: 6."),
        ({"other": "nobody"}, "The session to compare with does not exist."),
    ],
)
def test_a_comparison_of_nonsense_says_so(
    root: Client, run: str, query: dict[str, str], message: str
) -> None:
    assert message in body(root.get(session_urls.get_url("compare", run), query))
