"""The setting ``RETENTION``, and the system check that holds it to its form."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from weavegraph_checkpoints import conf
from weavegraph_checkpoints.domain.retention import RetentionPolicy


def problems(settings: Any, value: Any) -> list[tuple[str | None, str]]:
    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": value}
    return [
        (message.id, message.msg)
        for message in run_checks(tags=["weavegraph_checkpoints"])
        if message.id in ("weavegraph_checkpoints.E003", "weavegraph_checkpoints.E004")
    ]


def test_by_default_there_is_none(settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {}
    assert list(conf.retention()) == []


def test_policies_come_in_order_with_durations_of_both_kinds(settings: Any) -> None:
    value = (
        {"keep_last": 5, "older_than": "30d"},
        {"delete_inactive": timedelta(days=180), "status": "finished", "session_ids": ["a"]},
    )
    assert problems(settings, value) == []
    assert list(conf.retention()) == [
        RetentionPolicy(keep_last=5, older_than=timedelta(days=30)),
        RetentionPolicy(delete_inactive=timedelta(days=180), status="finished", session_ids=["a"]),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, ["must be a list of dicts"]),
        ("30d", ["must be a list of dicts"]),
        ({"keep_last": 1}, ["must be a list of dicts"]),
        ([{"keep_last": 1}, 30], ["must be a list of dicts"]),
        ([{}], ["[0]", "needs a rule"]),
        ([{"owner": "me"}], ["[0]", "needs a rule"]),
        ([{"keep_last": 1}, {"keep": 2}], ["[1]", "unknown key", "keep_last", "at keep"]),
        ([{"keep_last": 0}], ["[0]", "1 or more", "at keep_last"]),
        ([{"keep_last": True}], ["[0]", "at keep_last"]),
        ([{"older_than": "1M"}], ["[0]", "not a duration", "at older_than"]),
        ([{"delete_inactive": 180}], ["[0]", "timedelta", "at delete_inactive"]),
        ([{"keep_last": 1, "status": "done"}], ["[0]", "finished", "at status"]),
        ([{"keep_last": 1, "session_ids": "abc"}], ["[0]", "at session_ids"]),
    ],
)
def test_a_malformed_policy_is_an_error_that_names_it(
    settings: Any, value: Any, words: list[str]
) -> None:
    found = problems(settings, value)
    assert [key for key, _ in found] == ["weavegraph_checkpoints.E004"]
    for word in ["['RETENTION']", *words]:
        assert word in found[0][1]
    with pytest.raises(ImproperlyConfigured):
        conf.retention()
