"""Every session id has exactly one URL."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.test import Client
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from tests.api.clients import SESSIONS, assert_error, post, put, segment, session_url
from tests.strategies import a_checkpoint, session_ids
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.url_ids import decode_session_id, encode_session_id

AWKWARD = [
    "a/b",
    "/",
    "//",
    "a/",
    "/a",
    "..",
    ".",
    "...",
    "../..",
    ".hidden",
    "a/../b",
    "%2F",
    "%",
    "%00",
    "?",
    "#",
    "a?b=c#d",
    " ",
    "a b",
    "a ",
    "+",
    "a\nb",
    "\n",
    "\r\n",
    "\t",
    "\x7f",
    "~",
    "~YQ",
    "~cnVu",
    "a~b",
    "日本語",
    "العربية",
    "😀",
    "é",
    "e\u0301",
    "\ufeff",
    "\u202e",
    "\U0010ffff",
    "'\"<script>",
    "a,b;c",
    "a:b@c",
    "\\",
    "😀" * 255,
]
PLAIN = [
    "a",
    "A",
    "run-1",
    "steps",
    "latest",
    "fork",
    "diff",
    "sessions",
    "json",
    "a.json",
    "a..b",
    "-",
    "--",
    "_",
    "0",
    "a.",
    "YQ",
    "null",
    "x" * 255,
]


@pytest.mark.parametrize("session_id", [*AWKWARD, *PLAIN], ids=ascii)
def test_every_call_reaches_every_id(
    api: Client, checkpointer: DjangoCheckpointer, session_id: str
) -> None:
    own = session_id if session_id in PLAIN else segment(session_id)
    base = session_url(own)
    for step in (1, 2):
        saved = put(api, f"{base}steps/{step}/", serde.dumps(a_checkpoint(session_id, step)))
        assert saved.status_code == 201
        assert saved.json()["session_id"] == session_id
        assert saved.json()["url"] == f"http://testserver{base}steps/{step}/"
    assert checkpointer.list_sessions() == [session_id]
    session = api.get(base).json()
    assert (session["id"], session["url"]) == (session_id, f"http://testserver{base}")
    (listed,) = api.get(SESSIONS, {"id": session_id, "search": session_id}).json()["results"]
    assert listed == session
    latest = api.get(f"{base}latest/").json()
    assert latest["url"] == f"http://testserver{base}steps/2/"
    assert latest["session_id"] == session_id
    assert api.get(f"{base}steps/1/").json()["session_id"] == session_id
    assert api.get(f"{base}steps/").json()["page_info"]["total_count"] == 2
    assert api.get(f"{base}diff/?from=1&to=2").status_code == 200
    assert post(api, f"{base}fork/", {"target": "a fork"}).json()["forked_from"] == session_id
    assert api.delete(base).status_code == 204
    assert checkpointer.list_sessions() == ["a fork"]


@pytest.mark.parametrize(
    "none",
    [
        "~",
        "~~",
        "~YQ",
        "~YQ==",
        "~YS9i=",
        "~YS9j" + "A" * 400,
        "~YS9",
        "~YS9iYQ!",
        "~YS9iY",
        "~ABCDE",
        "~_w",
        "~7aCA",
        "~AA",
        "~YQBi",
        "~ YS9i",
        "~YS9i\n",
        "a b",
        "a~",
        "é",
        "a?",
        "a%2Fb",
        ".",
        "..a",
        "x" * 256,
    ],
)
def test_a_segment_that_is_not_canonical_is_404(api: Client, none: str) -> None:
    base = SESSIONS + quote(none, safe="") + "/"
    for rest in ("", "latest/", "steps/", "steps/1/", "diff/?from=1&to=2"):
        assert_error(api.get(base + rest), 404, "not_found")
    assert_error(api.delete(base), 404, "not_found")
    assert_error(post(api, f"{base}fork/", {"target": "x"}), 404, "not_found")
    body = json.loads(serde.dumps(a_checkpoint()))
    del body["session_id"]
    assert_error(put(api, f"{base}steps/1/", body), 404, "not_found")


@given(session_ids())
@example("~")
@example("a\n")
def test_segments_decode_to_the_id_and_need_no_escaping(session_id: str) -> None:
    made = encode_session_id(session_id)
    assert decode_session_id(made) == session_id
    assert quote(made, safe="~") == made
    assert "/" not in made
    assert made.strip(".") == made.lstrip(".")
    assert made == session_id or made == segment(session_id)


@given(st.text(max_size=30) | st.from_regex(r"~[A-Za-z0-9_-]{0,12}", fullmatch=True))
def test_each_session_has_exactly_one_segment(text: str) -> None:
    session_id = decode_session_id(text)
    assert session_id is None or encode_session_id(session_id) == text


class TestAnyId(TestCase):
    @given(session_ids())
    def test_is_reachable_by_its_url(self, session_id: str) -> None:
        from tests.api.clients import ALL, create_client

        client = create_client(*ALL)
        DjangoCheckpointer().save(a_checkpoint(session_id, 1))
        (session,) = client.get(SESSIONS, {"id": session_id}).json()["results"]
        assert session["id"] == session_id
        assert client.get(session["url"]).json() == session


@pytest.mark.parametrize("session_id", ["..", "a/b", "a/../b", ".", "%2F", "a b\n?#", "😀"])
@pytest.mark.django_db(transaction=True)
def test_over_http(live_server: Any, session_id: str) -> None:
    """Clients remove dot segments and servers decode percent signs: segments have neither."""
    from tests.api.live import build_auth_header

    DjangoCheckpointer().save(a_checkpoint(session_id, 1))
    address = urlsplit(live_server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        for path in (f"{SESSIONS}{segment(session_id)}/", None):
            wanted = path or SESSIONS
            connection.request("GET", wanted, headers=build_auth_header("view_session"))
            found = json.loads(connection.getresponse().read())
            session = found if path else found["results"][0]
            assert session["id"] == session_id
            assert session["url"] == f"{live_server.url}{SESSIONS}{segment(session_id)}/"
    finally:
        connection.close()
