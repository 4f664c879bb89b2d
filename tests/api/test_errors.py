"""Invalid requests: 400, 413 or 415, never 500, and nothing is written."""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from typing import Any

import pytest
from django.test import Client

from tests.api.clients import SESSIONS, assert_error, post, put, session_url, step_url
from tests.builders import everything_stored
from tests.strategies import a_checkpoint
from tests.worst_states import longest_columns
from weavegraph_checkpoints import SerializationError, serde
from weavegraph_checkpoints.api.parsers import (
    MAX_BYTES_BESIDES_STATE,
    MAX_ESCAPE_FACTOR,
    MAX_FORK_BYTES,
    CheckpointParser,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

GOOD = json.loads(serde.dumps(a_checkpoint("a", 1)))
PATH = step_url("a", 1)
UNSUPPORTED = "unsupported_media_type"


def with_state(extra: str = "{}", messages: str = "[]", errors: str = "[]") -> bytes:
    return (
        f'{{"state":{{"messages":{{"version":1,"items":{messages}}},'
        f'"extra":{{"version":1,"map":{extra}}},'
        f'"errors":{{"version":1,"items":{errors}}}}},"frontier":[]}}'
    ).encode()


def saying(message: str) -> bytes:
    return with_state(messages=f"[{message}]")


def failing(event: str) -> bytes:
    return with_state(errors=f"[{event}]")


def nested(levels: int, inner: str = "1") -> str:
    return "[" * levels + inner + "]" * levels


CAUSES = '{"message":"","cause":' * 202 + '{"message":""}' + "}" * 202
ITEM = "$.state.messages.items[0]"
EVENT = "$.state.errors.items[0]"

BODIES: list[tuple[str, bytes, str]] = [
    ("empty object", b"{}", "$.state"),
    ("no frontier", b'{"state":{"messages":{"version":1},"extra":{"version":1}}}', "$.frontier"),
    ("array", b"[]", "$"),
    ("text", b'"x"', "$"),
    ("null", b"null", "$"),
    ("two documents", with_state() + with_state(), "$"),
    ("truncated", with_state()[:-1], "$"),
    ("truncated in text", with_state()[:20], "$"),
    ("white space", b" \n ", "$"),
    ("byte order mark", b"\xef\xbb\xbf" + with_state(), "$"),
    ("latin-1", with_state('{"a":"é"}').decode().encode("latin-1"), "$"),
    ("utf-16", with_state().decode().encode("utf-16"), "$"),
    ("utf-32", with_state().decode().encode("utf-32-le"), "$"),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "$"),
    ("bad utf-8 in an ignored key", b'{"x":"\xff",' + with_state()[1:], "$"),
    ("overlong utf-8", with_state('{"a":"?"}').replace(b"?", b"\xc0\xaf"), "$"),
    ("nul bytes", b"\0\0", "$"),
    ("trailing comma", with_state('{"a":1,}'), "$"),
    ("single quotes", b"{'state':1}", "$"),
    ("comment", b"/**/" + with_state(), "$"),
    ("NaN", with_state('{"a":NaN}'), "$"),
    ("Infinity", with_state('{"a":-Infinity}'), "$"),
    ("number beyond floats", with_state('{"a":1e400}'), "$"),
    ("number beyond floats, negative", with_state('{"a":-1e999999999}'), "$"),
    ("integer too long", with_state(f'{{"a":{"9" * 5000}}}'), "$"),
    ("leading zero", with_state('{"a":01}'), "$"),
    ("lone surrogate", with_state('{"a":"\\ud800"}'), "$"),
    ("lone surrogate in a key", with_state('{"\\udfff":1}'), "$"),
    ("201 levels", with_state(f'{{"a":{nested(200)}}}'), "$.state.extra.map"),
    ("5 000 levels", with_state(f'{{"a":{nested(5000)}}}'), "$"),
    ("500 000 brackets", b"[" * 500_000, "$"),
    ("100 000 ignored levels", f'{{"x":{nested(100_000)},'.encode() + with_state()[1:], "$"),
    ("250 000 objects begun", b'{"a":' * 250_000, "$"),
    ("role is a number", saying('{"role":1,"content":""}'), f"{ITEM}.role"),
    ("no content", saying('{"role":""}'), f"{ITEM}.content"),
    ("not a scope", failing('{"error":{"message":""},"scope":{"scope":"x"}}'), f"{EVENT}.scope"),
    ("when is no time", failing('{"error":{"message":""},"when":"noon"}'), f"{EVENT}.when"),
    ("201 causes", failing(f'{{"error":{CAUSES}}}'), "$"),
]  # fmt: skip

FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"session_id": 7}, "$.session_id"),
    ({"step": "1"}, "$.step"),
    ({"step": True}, "$.step"),
    ({"step": -1}, "$.step"),
    ({"step": 2**63}, "$.step"),
    ({"step": 1.5}, "$.step"),
    ({"step": None}, "$.step"),
    ({"frontier": "Start"}, "$.frontier"),
    ({"frontier": [1]}, "$.frontier[0]"),
    ({"frontier": ["a\0"]}, "$.frontier[0]"),
    ({"ran_nodes": [None]}, "$.ran_nodes[0]"),
    ({"skipped_nodes": {}}, "$.skipped_nodes"),
    ({"updated_channels": ["\0"]}, "$.updated_channels[0]"),
    ({"updated_channels": None}, "$.updated_channels"),
    ({"versions_seen": {"a": {"b": -1}}}, "$.versions_seen.a.b"),
    ({"versions_seen": {"a": {"b": 2**64}}}, "$.versions_seen.a.b"),
    ({"versions_seen": {"a": {"b": True}}}, "$.versions_seen.a.b"),
    ({"versions_seen": {"a\0": {}}}, "$.versions_seen"),
    ({"versions_seen": []}, "$.versions_seen"),
    ({"concurrency_limit": 2**63}, "$.concurrency_limit"),
    ({"concurrency_limit": True}, "$.concurrency_limit"),
    ({"created_at": "2026-01-02T03:04:05"}, "$.created_at"),
    ({"created_at": "now"}, "$.created_at"),
    ({"created_at": 7}, "$.created_at"),
    ({"created_at": "0000-01-01T00:00:00Z"}, "$.created_at"),
    ({"state": None}, "$.state"),
    ({"state": {"messages": {"version": 1}}}, "$.state.extra"),
    ({"state": {"messages": {"version": 2**32}, "extra": {}}}, "$.state.messages.version"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "path"), [case[1:] for case in BODIES], ids=[c[0] for c in BODIES]
)
def test_invalid_bodies(api: Client, body: bytes, path: str) -> None:
    error = put(api, PATH, body)
    assert error.status_code == 400, error.content[:300]
    assert error.json()["code"] == "invalid"
    assert error.json()["path"].startswith(path)
    assert len(error.content) < 5_000
    assert not Session.objects.exists()


@pytest.mark.parametrize(("fields", "path"), FIELDS, ids=str)
def test_invalid_fields(api: Client, fields: dict[str, Any], path: str) -> None:
    assert_error(put(api, PATH, GOOD | fields), 400, "invalid", path)
    assert not Session.objects.exists()


def test_the_last_target_of_a_fork_wins(api: Client, checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    answer = post(api, session_url("a", "fork/"), b'{"target":"b","target":"c"}')
    assert (answer.status_code, answer.json()["id"]) == (201, "c")


def raw(client: Client, method: str, path: str, stream: Any, length: str | None) -> Any:
    """Send a stream with a ``Content-Length`` that may be wrong."""
    environ = {"CONTENT_TYPE": "application/json", "wsgi.input": stream}
    if length is not None:
        environ["CONTENT_LENGTH"] = length
    return client.generic(method, path, **environ)


@pytest.mark.parametrize("length", [None, "", "0", "x", "-1"])
def test_missing_or_invalid_content_length(api: Client, length: str | None) -> None:
    answer = raw(api, "PUT", PATH, BytesIO(b"{}"), length)
    assert_error(answer, 400, "invalid", "$")


@pytest.mark.parametrize("short_by", [1, 1000])
def test_a_truncated_body(api: Client, short_by: int) -> None:
    body = json.dumps(GOOD).encode() + b" " * 2000
    sent, said = body[:-short_by], str(len(body))
    answer = raw(api, "PUT", PATH, BytesIO(sent), said)
    assert_error(answer, 400, "invalid", "$")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "x", ";"]
)
def test_unsupported_content_types(api: Client, content_type: str) -> None:
    answer = api.generic("PUT", PATH, json.dumps(GOOD).encode(), content_type=content_type)
    assert_error(answer, 415, "unsupported_media_type")
    fork = session_url("a", "fork/")
    answer = api.generic("POST", fork, b'{"target":"b"}', content_type=content_type)
    assert_error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "\xff"])
def test_compressed_bodies(api: Client, encoding: str) -> None:
    body = gzip.compress(json.dumps(GOOD).encode())
    for path, method in ((PATH, "PUT"), (session_url("a", "fork/"), "POST")):
        options = {"content_type": "application/json", "HTTP_CONTENT_ENCODING": encoding}
        error = assert_error(api.generic(method, path, body, **options), 415, UNSUPPORTED)
        assert "is not supported: send the body uncompressed" in error["detail"]
    assert not Session.objects.exists()


def test_a_compressed_body_without_content_encoding(api: Client) -> None:
    body = gzip.compress(json.dumps(GOOD).encode())
    error = assert_error(put(api, PATH, body), 400, "invalid", "$")
    assert error["detail"] == "the request body is compressed: send it uncompressed"


def test_an_encoding_that_changes_nothing(api: Client) -> None:
    for encoding in ("identity", "", " Identity "):
        assert put(api, PATH, GOOD, HTTP_CONTENT_ENCODING=encoding).status_code in (200, 201)


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "base64", "rot13", "idna", "x", "\xff"])
def test_unsupported_charsets(api: Client, checkpointer: DjangoCheckpointer, charset: str) -> None:
    content_type = f"application/json; charset={charset}"
    answer = api.generic("PUT", PATH, json.dumps(GOOD).encode(), content_type=content_type)
    assert answer.status_code in (400, 415)
    checkpointer.save(a_checkpoint("é", 1))
    found = api.generic("GET", f"{SESSIONS}?search=%C3%A9", content_type=content_type)
    assert found.json()["count"] == 1


def test_names_of_utf_8(api: Client) -> None:
    for name in ("utf-8", "UTF-8", '"utf-8"', "utf8"):
        content_type = f"application/json; charset={name}"
        answer = api.generic("PUT", PATH, json.dumps(GOOD).encode(), content_type=content_type)
        assert answer.status_code in (200, 201)


@pytest.mark.parametrize("query", ["search=%FF", "%FF=1", "search=a%C3", "search=%ED%A0%80"])
def test_a_query_that_is_not_utf_8(api: Client, query: str) -> None:
    for path in ("", "a/steps/", "a/latest/", "a/"):
        assert_error(api.get(f"{SESSIONS}{path}?{query}"), 400, "invalid")


def test_a_query_with_too_many_parameters(api: Client) -> None:
    query = "&".join(f"p{number}=1" for number in range(1001))
    answer = api.get(f"{SESSIONS}?{query}")
    assert_error(answer, 400, "invalid")


@pytest.mark.parametrize(
    "step", ["x", "-1", "01", "1.0", "+1", " 1", "true", "1e3", "٣", str(2**63), "9" * 5000]
)
def test_a_save_with_an_invalid_step(api: Client, step: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != "step"}
    assert_error(put(api, session_url("a", f"steps/{step}/"), body), 400, "invalid", "step")


@pytest.mark.parametrize("value", ["x", "", "-1", "1.0", "true", "null", str(2**63), "%00", "01"])
def test_invalid_expected_last_step(api: Client, value: str) -> None:
    answer = put(api, f"{PATH}?expected_last_step={value}", GOOD)
    assert_error(answer, 400, "invalid", "expected_last_step")
    assert not Session.objects.exists()


FORKS: list[tuple[bytes, str]] = [
    (b"", "$.target"),
    (b"{}", "$.target"),
    (b"[]", "$"),
    (b'"b"', "$"),
    (b"7", "$"),
    (b"null", "$"),
    (b'{"target": null}', "$.target"),
    (b'{"target": ""}', "$.target"),
    (b'{"target": 7}', "$.target"),
    (b'{"target": true}', "$.target"),
    (b'{"target": ["b"]}', "$.target"),
    (b'{"target": "a\\u0000"}', "$.target"),
    (b'{"target": "%s"}' % (b"x" * 256), "$.target"),
    (b'{"target": "b", "at_step": -1}', "$.at_step"),
    (b'{"target": "b", "at_step": 9223372036854775808}', "$.at_step"),
    (b'{"target": "b", "at_step": "1"}', "$.at_step"),
    (b'{"target": "b", "at_step": true}', "$.at_step"),
    (b'{"target": "b", "at_step": 1.0}', "$.at_step"),
    (b'{"target": "b", "at_step": %s}' % (b"9" * 4299), "$.at_step"),
    (b'{"target": "b", "at_step": %s}' % (b"9" * 5000), "$.at_step"),
    (b'{"target": "\\ud800"}', "$"),
    (b'{"target": "\xff"}', "$"),
    (b'{"target": "b"', "$"),
    (b"[" * 60_000, "$"),
]


@pytest.mark.parametrize(("body", "path"), FORKS, ids=[ascii(case[0][:60]) for case in FORKS])
def test_invalid_fork_bodies(
    api: Client, checkpointer: DjangoCheckpointer, body: bytes, path: str
) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    before = everything_stored()
    assert_error(post(api, session_url("a", "fork/"), body), 400, "invalid", path)
    assert everything_stored() == before


class Untouched:
    """A body that must not be read."""

    def read(self, *args: Any) -> bytes:
        raise AssertionError("the body was read")

    readline = read

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("method", "path"), [("PUT", PATH), ("POST", session_url("a", "fork/"))])
def test_a_body_that_is_too_large_is_refused_unread(api: Client, method: str, path: str) -> None:
    limit = CheckpointParser().get_max_bytes() if method == "PUT" else MAX_FORK_BYTES
    assert limit is not None
    for length in (limit + 1, 10**18):
        answer = raw(api, method, path, Untouched(), str(length))
        assert_error(answer, 413, "too_large")


def test_a_state_that_is_too_large(api: Client, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": 300}
    state = {"messages": {"version": 1}, "extra": {"version": 1, "map": {"a": "x" * 300}}}
    error = assert_error(put(api, PATH, GOOD | {"state": state}), 413, "too_large", "$.state")
    assert "300" in error["detail"]
    assert not Session.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("frontier", ["a"] * 257, "$.frontier"),
        ("ran_nodes", ["x" * 256], "$.ran_nodes[0]"),
        ("skipped_nodes", ["日" * 255] * 30, "$.skipped_nodes"),
        ("updated_channels", ["a"] * 1_000_000, "$.updated_channels"),
        ("versions_seen", {str(number): {"a": 1} for number in range(513)}, "$.versions_seen"),
        ("versions_seen", {"x" * 256: {}}, "$.versions_seen"),
    ],
)
def test_a_field_that_is_too_large(api: Client, field: str, value: Any, path: str) -> None:
    assert_error(put(api, PATH, GOOD | {field: value}), 413, "too_large", path)
    assert_error(
        put(api, f"{PATH}?expected_last_step=0", GOOD | {field: value}), 413, "too_large", path
    )
    assert not Session.objects.exists()


def test_an_error_event_that_is_too_large(api: Client) -> None:
    event = '{"error":{"message":"%s"}}' % ("x" * 262_144)
    assert_error(put(api, PATH, failing(event)), 413, "too_large", "$.state.errors.items[0]")
    assert not Session.objects.exists()


def test_a_state_of_too_many_lists_is_refused_before_it_is_decoded(api: Client) -> None:
    text = json.dumps({"session_id": "a", "step": 1, "frontier": [], "state": {"lists": "LISTS"}})
    body = text.replace('"LISTS"', "[" + "[]," * 300_000 + "not JSON")
    error = assert_error(put(api, PATH, body.encode()), 413, "too_large", "$")
    assert "lists and objects" in error["detail"]


def test_all_other_fields_at_their_limits_fit_in_a_body(api: Client) -> None:
    body = json.dumps(GOOD | json.loads(serde.dumps(a_checkpoint("a", 1, **longest_columns()))))
    assert len(body.encode()) < MAX_BYTES_BESIDES_STATE / MAX_ESCAPE_FACTOR
    assert put(api, PATH, body.encode()).status_code == 201


def test_the_largest_state_fits_with_every_character_escaped(api: Client, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": 2_000_000}
    text = "я" * 990_000
    state = {"messages": {"version": 1}, "extra": {"version": 1, "map": {"a": text}}}
    body = json.dumps(GOOD | {"state": state}).encode()
    assert len(body) > 5_900_000
    assert put(api, PATH, body).status_code == 201


def test_no_limit_accepts_a_body_of_any_size(api: Client, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": None}
    assert CheckpointParser().get_max_bytes() is None
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    body = json.dumps(GOOD).encode() + b" " * 3_000_000
    assert put(api, PATH, body).status_code == 201


def test_unsupported_accept_headers(api: Client) -> None:
    answer = api.get(SESSIONS, headers={"Accept": "image/png"})
    assert_error(answer, 406, "not_acceptable")
    for accept in ("*/*", "application/json", "text/html;q=0.1,application/json", "x", "", "\0"):
        assert api.get(SESSIONS, headers={"Accept": accept}).status_code in (200, 406)


def test_throttling(api: Client, monkeypatch: Any) -> None:
    from rest_framework.throttling import UserRateThrottle

    from weavegraph_checkpoints.api.viewsets import SessionViewSet

    class Once(UserRateThrottle):
        rate = "1/day"

    monkeypatch.setattr(SessionViewSet, "throttle_classes", [Once])
    assert api.get(SESSIONS).status_code == 200
    answer = api.get(SESSIONS)
    assert_error(answer, 429, "throttled")
    assert int(answer["Retry-After"]) > 0


def test_a_broken_record_is_a_server_error(api: Client, checkpointer: DjangoCheckpointer) -> None:
    checkpointer.save(a_checkpoint("a", 1))
    Step.objects.update(state={"messages": 7})
    assert api.get(PATH).status_code == 500
    api.raise_request_exception = True
    with pytest.raises(SerializationError):
        api.get(PATH)


def test_an_error_rolls_back_atomic_requests(
    api: Client, checkpointer: DjangoCheckpointer, settings: Any
) -> None:
    from django.db import connection

    checkpointer.save(a_checkpoint("a", 3))
    before = everything_stored()
    settings_of = connection.settings_dict
    settings_of["ATOMIC_REQUESTS"] = True
    try:
        answer = put(api, f"{step_url('a', 4)}?expected_last_step=2", GOOD | {"step": 4})
        assert_error_409(answer)
    finally:
        settings_of["ATOMIC_REQUESTS"] = False
    assert everything_stored() == before


def assert_error_409(answer: Any) -> None:
    assert answer.status_code == 409
    assert answer.json() == {
        "code": "concurrency_conflict",
        "detail": "session 'a': expected last step 2, but it is 3",
        "expected": 2,
        "actual": 3,
    }


def test_the_documented_limit_of_a_proxy() -> None:
    assert CheckpointParser().get_max_bytes() == 22 * 1024 * 1024 == 23_068_672
