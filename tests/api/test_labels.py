"""Labels: in each session, as a filter of the list, and changed by a merge patch."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from tests.api.clients import SESSIONS, assert_error, session_url
from tests.builders import everything_stored, save_history
from tests.domain.test_labels import VALUES
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label, Session

MERGE_PATCH = "application/merge-patch+json"


def patch(client: Client, path: str, body: Any, content_type: str = MERGE_PATCH) -> Any:
    """PATCH a body, encoded as JSON unless it is ``bytes``."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.patch(path, data, content_type=content_type)


def ids(client: Client, query: str) -> list[str]:
    answer = client.get(f"{SESSIONS}?{query}")
    assert answer.status_code == 200, answer.content
    page = answer.json()
    assert page["count"] == len(page["results"])
    return sorted(each["id"] for each in page["results"])


@pytest.fixture
def labelled(checkpointer: DjangoCheckpointer) -> DjangoCheckpointer:
    """Three sessions, of which two have labels."""
    for session_id in ("a", "b", "c"):
        save_history(checkpointer, session_id, [1])
    checkpointer.set_labels("a", {"env": "test", "customer": "4711"})
    checkpointer.set_labels("b", {"env": "test", "url": "https://a:1"})
    return checkpointer


def test_each_session_has_its_labels(api: Client, labelled: DjangoCheckpointer) -> None:
    page = api.get(SESSIONS).json()
    assert {each["id"]: each["labels"] for each in page["results"]} == {
        "a": {"customer": "4711", "env": "test"},
        "b": {"env": "test", "url": "https://a:1"},
        "c": {},
    }
    assert list(api.get(session_url("a")).json()["labels"]) == ["customer", "env"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("label=env:test", ["a", "b"]),
        ("label=env:test&label=customer:4711", ["a"]),
        ("label=env:test&label=env:test", ["a", "b"]),
        ("label=env:test&label=env:prod", []),
        ("label=env:Test", []),
        ("label=ENV:test", []),
        ("label=env:", []),
        ("label=url:https://a:1", ["b"]),
        ("label=env:test&status=resumable&search=b", ["b"]),
        ("label=env:test&owner=ann", []),
        ("label=absent:x", []),
        ("&".join(f"label=key{number}:" for number in range(64)), []),
    ],
)
def test_the_list_is_filtered_by_labels(
    api: Client, labelled: DjangoCheckpointer, query: str, found: list[str]
) -> None:
    assert ids(api, query) == found


@pytest.mark.parametrize(
    "query",
    [
        "label=",
        "label=env",
        "label=:test",
        "label=e%20v:test",
        "label=_env:test",
        "label=env:a%00",
        "label=" + "k" * 64 + ":",
        "label=env:" + "x" * 256,
        "label=env:test&label=env",
        "&".join(f"label=key{number}:" for number in range(65)),
    ],
)
def test_an_invalid_filter_is_refused(
    api: Client, labelled: DjangoCheckpointer, query: str
) -> None:
    assert_error(api.get(f"{SESSIONS}?{query}"), 400, "invalid", "label")


def test_pages_keep_the_filter(api: Client, labelled: DjangoCheckpointer) -> None:
    page = api.get(f"{SESSIONS}?label=env:test&label=env:test&limit=1").json()
    assert page["count"] == 2
    following = api.get(page["next"]).json()
    found = [each["id"] for each in page["results"] + following["results"]]
    assert sorted(found) == ["a", "b"]


@pytest.mark.parametrize("content_type", [MERGE_PATCH, "application/json"])
@pytest.mark.parametrize(
    ("body", "after"),
    [
        ({}, {"customer": "4711", "env": "test"}),
        ({"labels": {}}, {"customer": "4711", "env": "test"}),
        ({"labels": {"env": "prod"}}, {"customer": "4711", "env": "prod"}),
        ({"labels": {"env": None, "absent": None}}, {"customer": "4711"}),
        ({"labels": {"env": None, "a": ""}}, {"a": "", "customer": "4711"}),
        ({"labels": None}, {}),
    ],
)
def test_labels_are_changed_by_a_merge_patch(
    api: Client,
    labelled: DjangoCheckpointer,
    content_type: str,
    body: Any,
    after: dict[str, str],
) -> None:
    before = api.get(session_url("a")).json()
    answer = patch(api, session_url("a"), body, content_type)
    assert answer.status_code == 200
    assert answer.json() == {**before, "labels": after}
    assert labelled.get_labels("a") == after
    assert api.get(session_url("a")).json() == answer.json()


def test_each_value_comes_back_as_it_was_sent(api: Client, labelled: DjangoCheckpointer) -> None:
    for value in VALUES:
        answer = patch(api, session_url("a"), {"labels": {"key": value}})
        assert answer.json()["labels"]["key"] == value
        assert ids(api, f"label=key:{quote(value)}") == ["a"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", "$"),
        (b"{", "$"),
        (b"\xff", "$"),
        (b"null", "$"),
        (b"[]", "$"),
        (b'"labels"', "$"),
        ({"owner": "bob"}, "$"),
        ({"labels": {"a": "1"}, "id": "b"}, "$"),
        ({"labels": []}, "$.labels"),
        ({"labels": "a"}, "$.labels"),
        ({"labels": {"a": 1}}, "$.labels[...]"),
        ({"labels": {"a": True}}, "$.labels[...]"),
        ({"labels": {"a": ["b"]}}, "$.labels[...]"),
        ({"labels": {"a": "x" * 256}}, None),
        ({"labels": {"a": "\0"}}, None),
        (b'{"labels": {"a": "\\ud800"}}', None),
        ({"labels": {"": "a"}}, None),
        ({"labels": {"a b": "a"}}, None),
        ({"labels": {"k" * 64: "a"}}, None),
        ({"labels": {"k\n": "a"}}, None),
        ({"labels": {f"key{number}": "" for number in range(100)}}, "$.labels"),
    ],
)
def test_an_invalid_patch_changes_nothing(
    api: Client, labelled: DjangoCheckpointer, body: Any, path: str | None
) -> None:
    before = everything_stored()
    answer = patch(api, session_url("a"), body)
    assert answer.status_code == 400, answer.content
    error = answer.json()
    assert error["code"] == "invalid"
    assert error["path"].startswith("$")
    if path == "$" or path == "$.labels":
        assert error["path"] == path
    assert everything_stored() == before


def test_other_media_types_and_large_bodies_are_refused(
    api: Client, labelled: DjangoCheckpointer
) -> None:
    answer = patch(api, session_url("a"), {}, "application/json-patch+json")
    assert_error(answer, 415, "unsupported_media_type")
    large = {"labels": {"a": "x" * 300_000}}
    assert_error(patch(api, session_url("a"), large), 413, "too_large")
    fits = {f"{number:063}": "\U0001f600" * 255 for number in range(64)}
    assert patch(api, session_url("c"), {"labels": fits}).json()["labels"] == fits


def test_a_session_that_is_not_there(api: Client, labelled: DjangoCheckpointer) -> None:
    for body in ({}, {"labels": {"a": "1"}}, {"labels": None}):
        assert_error(patch(api, session_url("missing"), body), 404, "not_found")


def test_nothing_else_of_a_session_changes(api: Client, labelled: DjangoCheckpointer) -> None:
    before = list(Session.objects.order_by("id").values_list())
    etag = api.get(session_url("a", "latest/"))["ETag"]
    patch(api, session_url("a"), {"labels": {"env": "prod"}})
    assert list(Session.objects.order_by("id").values_list()) == before
    assert api.get(session_url("a", "latest/"))["ETag"] == etag


def test_a_put_of_a_session_is_not_allowed(api: Client, labelled: DjangoCheckpointer) -> None:
    answer = api.put(session_url("a"), b"{}", content_type="application/json")
    assert answer.status_code == 405


def test_a_fork_has_the_labels_and_a_deleted_session_leaves_none(
    api: Client, labelled: DjangoCheckpointer
) -> None:
    body = json.dumps({"target": "fork"})
    answer = api.post(session_url("a", "fork/"), body, content_type="application/json")
    assert answer.json()["labels"] == {"customer": "4711", "env": "test"}
    for session_id in ("a", "b", "fork"):
        assert api.delete(session_url(session_id)).status_code == 204
    assert not Label.objects.exists()
