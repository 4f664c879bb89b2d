"""The retention policy, and the rule that the tests of pruning compare the SQL with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pruning.histories import prunable_steps
from weavegraph_checkpoints.domain.retention import (
    RetentionPolicy,
    get_cutoff,
    parse_duration,
)
from weavegraph_checkpoints.exceptions import CheckpointerError, InvalidPolicy

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MAX_STEP = 2**63 - 1

History = dict[int, datetime]


def days_ago(days: float) -> datetime:
    return NOW - days * DAY


class TestPolicy:
    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({}, "$"),
            ({"session_ids": ["a"], "status": "empty", "owner": ""}, "$"),
            ({"keep_last": 0}, "keep_last"),
            ({"keep_last": -1}, "keep_last"),
            ({"keep_last": True}, "keep_last"),
            ({"keep_last": 1.0}, "keep_last"),
            ({"keep_last": "5"}, "keep_last"),
            ({"keep_last": MAX_STEP + 1}, "keep_last"),
            ({"older_than": timedelta(microseconds=-1)}, "older_than"),
            ({"older_than": 30}, "older_than"),
            ({"older_than": "30d"}, "older_than"),
            ({"delete_inactive": -DAY}, "delete_inactive"),
            ({"delete_inactive": 0}, "delete_inactive"),
            ({"keep_last": 1, "session_ids": "abc"}, "session_ids"),
            ({"keep_last": 1, "session_ids": 7}, "session_ids"),
            ({"keep_last": 1, "session_ids": [""]}, "session_ids"),
            ({"keep_last": 1, "session_ids": ["a", 7]}, "session_ids"),
            ({"keep_last": 1, "session_ids": ["a\0"]}, "session_ids"),
            ({"keep_last": 1, "session_ids": ["\ud800"]}, "session_ids"),
            ({"keep_last": 1, "session_ids": ["x" * 256]}, "session_ids"),
            ({"keep_last": 1, "status": "Finished"}, "status"),
            ({"keep_last": 1, "status": ["empty"]}, "status"),
            ({"keep_last": 1, "owner": 7}, "owner"),
            ({"keep_last": 1, "owner": "x" * 256}, "owner"),
        ],
    )
    def test_what_is_no_policy_is_refused_with_the_field(
        self, fields: dict[str, Any], path: str
    ) -> None:
        with pytest.raises(InvalidPolicy) as caught:
            RetentionPolicy(**fields)
        assert caught.value.path == path
        assert isinstance(caught.value, CheckpointerError)
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize(
        "fields",
        [
            {"keep_last": 1},
            {"keep_last": MAX_STEP},
            {"older_than": timedelta(0)},
            {"older_than": timedelta.max},
            {"delete_inactive": timedelta(0)},
            {"keep_last": 3, "older_than": DAY, "delete_inactive": DAY},
            {"keep_last": 1, "owner": "", "status": "empty", "session_ids": ()},
        ],
    )
    def test_the_ends_of_the_ranges_are_policies(self, fields: dict[str, Any]) -> None:
        policy = RetentionPolicy(**fields)
        assert all(getattr(policy, name) == value for name, value in fields.items())

    def test_session_ids_are_copied_once_each_in_order(self) -> None:
        ids = ["b", "a", "b", "A"]
        policy = RetentionPolicy(keep_last=1, session_ids=ids)
        ids.append("c")
        assert policy.session_ids == ("A", "a", "b")
        assert policy == RetentionPolicy(keep_last=1, session_ids=iter(["a", "A", "b"]))

    def test_it_is_frozen_and_compared_by_value(self) -> None:
        policy = RetentionPolicy(keep_last=2)
        with pytest.raises(AttributeError):
            policy.keep_last = 3  # type: ignore[misc]
        assert policy == RetentionPolicy(keep_last=2) != RetentionPolicy(keep_last=3)
        assert hash(policy) == hash(RetentionPolicy(keep_last=2))

    @pytest.mark.parametrize(
        ("fields", "step_rule", "session_rule"),
        [
            ({"keep_last": 1}, True, False),
            ({"older_than": DAY}, True, False),
            ({"delete_inactive": DAY}, False, True),
            ({"older_than": DAY, "delete_inactive": DAY}, True, True),
        ],
    )
    def test_it_tells_its_rules(
        self, fields: dict[str, Any], step_rule: bool, session_rule: bool
    ) -> None:
        policy = RetentionPolicy(**fields)
        assert (policy.has_step_rule, policy.has_session_rule) == (step_rule, session_rule)

    @pytest.mark.parametrize(
        ("fields", "concerns"),
        [
            ({}, True),
            ({"session_ids": ["a", "b"]}, True),
            ({"session_ids": ["A"]}, False),
            ({"session_ids": []}, False),
            ({"owner": "me"}, True),
            ({"owner": ""}, False),
            ({"status": "finished"}, True),
            ({"status": "resumable"}, False),
            ({"session_ids": ["a"], "owner": "me", "status": "empty"}, False),
        ],
    )
    def test_it_narrows(self, fields: dict[str, Any], concerns: bool) -> None:
        policy = RetentionPolicy(keep_last=1, **fields)
        assert policy.applies_to("a", "me", "finished") is concerns

    def test_inactive_is_longer_ago_than_the_duration(self) -> None:
        policy = RetentionPolicy(delete_inactive=DAY)
        assert not policy.is_inactive(days_ago(1), NOW)
        assert policy.is_inactive(days_ago(1) - timedelta.resolution, NOW)
        assert not RetentionPolicy(keep_last=1).is_inactive(days_ago(9), NOW)

    def test_an_age_beyond_the_calendar_names_nothing(self) -> None:
        assert get_cutoff(NOW, timedelta.max) == datetime.min.replace(tzinfo=UTC)
        policy = RetentionPolicy(older_than=timedelta.max)
        assert prunable_steps(policy, {1: days_ago(9), 2: NOW}.items(), NOW) == frozenset()


class TestFromMapping:
    def test_durations_are_text_or_timedelta(self) -> None:
        policy = RetentionPolicy.from_mapping(
            {"keep_last": 5, "older_than": "30d", "delete_inactive": timedelta(days=180)}
        )
        assert policy == RetentionPolicy(
            keep_last=5, older_than=30 * DAY, delete_inactive=180 * DAY
        )

    @pytest.mark.parametrize(
        ("mapping", "path"),
        [
            ({"keep_lasts": 5}, "keep_lasts"),
            ({7: 5}, "7"),
            ({"keep_last": 5, "older_than": "a month"}, "older_than"),
            ({"delete_inactive": "P1M"}, "delete_inactive"),
            ({"keep_last": "5"}, "keep_last"),
            ({}, "$"),
        ],
    )
    def test_what_is_malformed_is_refused_with_the_key(
        self, mapping: dict[Any, Any], path: str
    ) -> None:
        with pytest.raises(InvalidPolicy) as caught:
            RetentionPolicy.from_mapping(mapping)
        assert caught.value.path == path

    def test_an_unknown_key_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(InvalidPolicy, match="delete_inactive, keep_last, labels, older_than"):
            RetentionPolicy.from_mapping({"keep": 5})


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "duration"),
        [
            ("30d", 30 * DAY),
            ("12h", timedelta(hours=12)),
            ("2w", 14 * DAY),
            ("90m", timedelta(minutes=90)),
            ("0d", timedelta(0)),
            ("007d", 7 * DAY),
            ("P30DT12H", timedelta(days=30, hours=12)),
            ("PT90M", timedelta(minutes=90)),
            ("P2W", 14 * DAY),
            ("PT0.5S", timedelta(seconds=0.5)),
        ],
    )
    def test_what_is_a_duration(self, text: str, duration: timedelta) -> None:
        assert parse_duration(text) == duration

    @pytest.mark.parametrize(
        "text",
        [
            "", "30", "d", "30 d", "30d ", "30d\n", "-30d", "+30d", "1.5d", "30s", "30D", "30dd",
            "1d12h", "٣d", "P", "PT", "P1Y", "P1M", "P-1D", "-P1D", "P1DT", "p30d", "PPT1H",
            "p2w", "2W", "P2WT1H", "99999999999d", "P99999999999D", "9" * 5000 + "d", "a month",
        ],
    )  # fmt: skip
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(InvalidPolicy, match="not a duration") as caught:
            parse_duration(text, "older_than")
        assert caught.value.path == "older_than"

    @given(st.timedeltas(timedelta(0), timedelta(days=100_000)))
    def test_any_duration_is_read_from_iso_8601(self, duration: timedelta) -> None:
        seconds = f"{duration.seconds}.{duration.microseconds:06}"
        assert parse_duration(f"P{duration.days}DT{seconds}S") == duration


# The rule


def ages() -> st.SearchStrategy[datetime]:
    """Return instants that often meet the edges of ``policies``."""
    return st.sampled_from([0, 1, 2, 3]).map(days_ago) | st.datetimes(
        datetime(2026, 6, 27), datetime(2026, 7, 3), timezones=st.just(UTC)
    )


def histories() -> st.SearchStrategy[History]:
    """Return histories whose ``created_at`` need not rise with the steps."""
    steps = st.integers(0, 12) | st.sampled_from([0, MAX_STEP - 1, MAX_STEP])
    return st.dictionaries(steps, ages(), max_size=12)


def policies(*, session_rule: bool = False) -> st.SearchStrategy[RetentionPolicy]:
    """Return policies with small numbers."""
    keep = st.none() | st.integers(1, 6) | st.just(MAX_STEP)
    older = st.none() | st.sampled_from([timedelta(0), DAY, 2 * DAY, timedelta.max])
    inactive = st.none() | st.sampled_from([DAY, 2 * DAY]) if session_rule else st.none()
    return (
        st.fixed_dictionaries({"keep_last": keep, "older_than": older, "delete_inactive": inactive})
        .filter(lambda fields: any(value is not None for value in fields.values()))
        .map(lambda fields: RetentionPolicy(**fields))
    )


class TestRule:
    @given(histories(), policies())
    def test_the_newest_step_never_goes(self, history: History, policy: RetentionPolicy) -> None:
        prunable = prunable_steps(policy, history.items(), NOW)
        assert prunable <= set(history)
        assert not history or max(history) not in prunable

    @given(histories(), policies())
    def test_a_step_goes_when_every_step_rule_names_it(
        self, history: History, policy: RetentionPolicy
    ) -> None:
        prunable = prunable_steps(policy, history.items(), NOW)
        for step, created_at in history.items():
            newer = sum(other > step for other in history)
            among_newest = newer < (policy.keep_last or 1)
            too_young = policy.older_than is not None and NOW - created_at <= policy.older_than
            assert (step in prunable) == (not among_newest and not too_young)

    @given(histories(), policies())
    def test_a_second_time_takes_nothing(self, history: History, policy: RetentionPolicy) -> None:
        prunable = prunable_steps(policy, history.items(), NOW)
        left = [(step, history[step]) for step in history if step not in prunable]
        assert prunable_steps(policy, left, NOW) == frozenset()

    @given(histories())
    def test_a_rule_on_sessions_takes_no_step(self, history: History) -> None:
        policy = RetentionPolicy(delete_inactive=timedelta(0))
        assert prunable_steps(policy, history.items(), NOW) == frozenset()


@pytest.mark.parametrize(
    "labels", ["env=test", ["env"], {"a b": "c"}, {"env": None}, {"env": 1}, {1: "a"}, 1]
)
def test_labels_that_are_refused(labels: Any) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        RetentionPolicy.from_mapping({"keep_last": 1, "labels": labels})
    assert caught.value.path.startswith("labels")


def test_labels_are_copied_and_none_means_all_sessions() -> None:
    labels = {"b": "2", "a": "1"}
    policy = RetentionPolicy(keep_last=1, labels=labels)
    labels.clear()
    assert list((policy.labels or {}).items()) == [("a", "1"), ("b", "2")]
    assert RetentionPolicy(keep_last=1, labels={}).labels is None
    assert hash(policy) == hash(RetentionPolicy(keep_last=1, labels={"a": "1", "b": "2"}))
    with pytest.raises(InvalidPolicy):
        RetentionPolicy(labels={"a": "1"})
