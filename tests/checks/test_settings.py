"""Settings: their values, and the errors for unknown and malformed ones."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.checks import check_settings
from weavegraph_checkpoints.domain.retention import RetentionPolicy


def an_owner(request: object) -> str | None:
    return None


NOT_A_FUNCTION = 5
PATH = f"{__name__}.an_owner"


@pytest.fixture
def configure(settings: Any) -> Any:
    def configured(**values: Any) -> list[CheckMessage]:
        settings.WEAVEGRAPH_CHECKPOINTS = values
        return check_settings()

    return configured


def test_no_settings_are_good_settings(settings: Any) -> None:
    del settings.WEAVEGRAPH_CHECKPOINTS
    assert check_settings() == []
    assert conf.max_state_bytes() == 7 * 1024 * 1024
    assert conf.changes_from_bytes() == 4096
    assert conf.events_max_seconds() == 300
    assert conf.retention() == []
    assert conf.api_owner() is None


@pytest.mark.parametrize("value", [1, 7 * 1024 * 1024, 2**40, None])
def test_max_state_bytes(configure: Any, value: int | None) -> None:
    assert configure(MAX_STATE_BYTES=value) == []
    assert conf.max_state_bytes() == value


@pytest.mark.parametrize("value", [0, 1, 4096, 2**40, None])
def test_changes_from_bytes(configure: Any, value: int | None) -> None:
    assert configure(CHANGES_FROM_BYTES=value) == []
    assert conf.changes_from_bytes() == value


@pytest.mark.parametrize("value", [1, 300, 2**40])
def test_events_max_seconds(configure: Any, value: int) -> None:
    assert configure(EVENTS_MAX_SECONDS=value) == []
    assert conf.events_max_seconds() == value


@pytest.mark.parametrize(
    "value", [[], [{"keep_last": 1}], ({"keep_last": 3}, {"older_than": "30d"})]
)
def test_retention(configure: Any, value: Any) -> None:
    assert configure(RETENTION=value) == []
    assert conf.retention() == [RetentionPolicy.from_mapping(policy) for policy in value]


def test_api_owner(configure: Any) -> None:
    assert configure(API_OWNER=PATH) == []
    assert conf.api_owner() is an_owner
    assert configure(API_OWNER=None) == []
    assert conf.api_owner() is None


MALFORMED: dict[str, list[Any]] = {
    "MAX_STATE_BYTES": [0, -1, True, 1.5, "7", [], {}],
    "CHANGES_FROM_BYTES": [-1, True, False, 1.5, "4096", [], {}],
    "EVENTS_MAX_SECONDS": [0, -1, None, True, 1.5, "300", [], {}],
    "RETENTION": [None, {}, "30d", 5, [1], [None], {"keep_last": 3}, [{}], [{"keep_last": 1}, "x"]],
    "API_OWNER": [
        "",
        "x",
        ".x",
        "..x",
        "x.",
        "no.such.module",
        f"{__name__}.no_such_name",
        f"{__name__}.NOT_A_FUNCTION",
        5,
        b"a.b",
        [],
        an_owner,
    ],
}


def test_every_setting_is_tested() -> None:
    assert set(MALFORMED) == set(conf.READERS)
    assert len(conf.READERS) <= 6


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in MALFORMED.items() for value in values]
)
def test_a_malformed_setting(configure: Any, key: str, value: Any) -> None:
    (message,) = configure(**{key: value})
    assert message.id == "weavegraph_checkpoints.E004"
    assert message.is_serious()
    assert key in message.msg
    assert "docs/settings.md" in message.hint
    with pytest.raises(ImproperlyConfigured, match=key):
        conf.READERS[key]()


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_settings_that_are_no_dict(settings: Any, value: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = value
    (message,) = check_settings()
    assert message.id == "weavegraph_checkpoints.E004"
    assert "must be a dict" in message.msg


def test_unknown_keys(configure: Any) -> None:
    first, second = configure(MAX_STATE_BYTE=1, **{"5": 1}, RETENTION=[])
    assert {first.id, second.id} == {"weavegraph_checkpoints.E003"}
    assert "'5'" in first.msg
    assert "'MAX_STATE_BYTE'" in second.msg
    assert second.hint == (
        "The keys are API_OWNER, CHANGES_FROM_BYTES, EVENTS_MAX_SECONDS, MAX_STATE_BYTES, "
        "RETENTION."
    )


def test_an_unknown_key_that_is_no_text(settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {5: 1}
    assert [message.id for message in check_settings()] == ["weavegraph_checkpoints.E003"]


def test_unknown_and_malformed_together(configure: Any) -> None:
    messages = configure(UNKNOWN=1, MAX_STATE_BYTES=0, RETENTION=0, API_OWNER=0)
    assert [message.id.rpartition(".")[2] for message in messages] == ["E003", *["E004"] * 3]


def test_use_tz(settings: Any) -> None:
    settings.USE_TZ = False
    (message,) = check_settings()
    assert message.id == "weavegraph_checkpoints.E002"
    assert message.is_serious()
    assert "USE_TZ = True" in message.hint
