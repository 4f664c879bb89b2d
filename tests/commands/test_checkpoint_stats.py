from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection

from tests.builders import save_history
from tests.commands.runner import run
from tests.long_histories import save_long_history
from tests.service.statements import captured
from tests.triggers.helpers import KEYFRAME, SESSION, STEP, create_session
from weavegraph_checkpoints import VersionedState, serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.health.stats import (
    DayGrowth,
    LabelSize,
    LabelStats,
    SessionSize,
    collect,
)
from weavegraph_checkpoints.management.output import format_size
from weavegraph_checkpoints.models import Session, Step
from weavegraph_checkpoints.pruning import prune

pytestmark = pytest.mark.django_db

STATS = "checkpoint_stats"
STATE = VersionedState.new_with_user_message("ä" * 50)
SIZE = len(serde.dumps_state(STATE))
STATE_JSON = serde.loads_json(serde.dumps_state(STATE))


def query(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def save(session_id: str, steps: Any, **fields: Any) -> None:
    """Save steps that were made now, all of one size."""
    fields = {"created_at": datetime.now(UTC), "state": STATE} | fields
    save_history(DjangoCheckpointer(), session_id, steps, **fields)


def test_an_empty_database() -> None:
    stats = collect()
    assert dict(stats.sessions) == {"empty": 0, "resumable": 0, "finished": 0}
    assert (stats.steps, stats.bytes, stats.mean_bytes, stats.largest) == (0, 0, 0, ())
    assert len(stats.growth) == 30
    assert all((day.steps, day.bytes) == (0, 0) for day in stats.growth)
    assert stats.retention == ()
    assert "sessions  0 (0 empty, 0 resumable, 0 finished)" in run(STATS).lines


@pytest.mark.usefixtures("whole_states")
def test_sessions_steps_and_bytes() -> None:
    save("a", [1, 2, 3])
    save("b", [1], frontier=["End"])
    create_session("c")
    stats = collect()
    assert dict(stats.sessions) == {"empty": 1, "resumable": 1, "finished": 1}
    assert (stats.steps, stats.bytes, stats.mean_bytes) == (4, 4 * SIZE, 2 * SIZE)
    assert stats.largest == (
        SessionSize(session_id="a", steps=3, bytes=3 * SIZE, stored_bytes=4 * SIZE),
        SessionSize(session_id="b", steps=1, bytes=SIZE, stored_bytes=2 * SIZE),
    )
    assert stats.stored_bytes == 6 * SIZE


@pytest.mark.usefixtures("whole_states")
def test_sizes_by_the_values_of_a_label() -> None:
    save("a", [1, 2, 3])
    save("b", [1])
    create_session("c")
    save("d", [1])
    for session_id, value in [("a", "4711"), ("b", "4711"), ("c", "\n")]:
        DjangoCheckpointer().set_labels(session_id, {"customer": value, "env": "test"})
    assert collect().by_label is None
    assert collect(by_label="customer").by_label == LabelStats(
        key="customer",
        values=2,
        largest=(
            LabelSize(value="4711", sessions=2, steps=4, bytes=4 * SIZE),
            LabelSize(value="\n", sessions=1, steps=0, bytes=0),
        ),
        sessions_without=1,
    )
    nothing = LabelStats(key="Customer", values=0, largest=(), sessions_without=4)
    assert collect(by_label="Customer").by_label == nothing
    lines = run(STATS, "--by-label", "customer").lines
    start = lines.index("Largest of 2 values of customer; 1 session without it")
    assert lines[start + 1].split()[-5:] == ["2", "sessions", "4", "steps", '"4711"']
    assert lines[start + 2].endswith('0 steps  "\\n"')
    document = json.loads(run(STATS, "--by-label", "customer", "--format", "json").out)
    assert document["by_label"]["largest"][0]["value"] == "4711"
    with pytest.raises(CommandError, match="a label's key"):
        run(STATS, "--by-label", "a b")


def test_the_twenty_largest_values_of_a_label() -> None:
    for number in range(25):
        create_session(f"s{number}")
        DjangoCheckpointer().set_labels(f"s{number}", {"n": f"{number:02}"})
    found = collect(by_label="n").by_label
    assert found is not None
    assert (found.values, found.sessions_without) == (25, 0)
    assert [each.value for each in found.largest] == [f"{number:02}" for number in range(20)]


@pytest.mark.usefixtures("changes")
def test_stored_bytes_are_those_of_changes_keyframes_and_snapshots() -> None:
    stored = {"a": 0, "b": 0}
    for session_id in stored:
        save_long_history(session_id, range(1, 9 if session_id == "b" else 20))
    Step.objects.filter(session="b", step=2).update(state=STATE_JSON, base=None, state_bytes=None)
    for table, column, key in (
        (STEP, "state", "session_id"),
        (KEYFRAME, "state", "session_id"),
        (SESSION, "last_state", "id"),
    ):
        for session_id, text in query(f"SELECT {key}, {column} FROM {table}"):
            text = text if isinstance(text, str) else serde.dumps_json(text)
            stored[session_id] += len(text.encode())
    stats = collect()
    assert {each.session_id: each.stored_bytes for each in stats.largest} == stored
    assert stats.stored_bytes == sum(stored.values()) < stats.bytes


@pytest.mark.usefixtures("whole_states")
def test_states_that_nobody_counted_are_measured() -> None:
    save("a", [1, 2])
    Step.objects.update(state_bytes=None)
    stats = collect()
    assert stats.bytes == stats.largest[0].bytes == stats.growth[-1].bytes == 2 * SIZE


def test_the_twenty_largest_ties_by_id() -> None:
    for number in range(25):
        save(f"s{number:02}", range(3 if number == 24 else 1))
    expected = ["s24", *(f"s{number:02}" for number in range(19))]
    stats = collect()
    assert [size.session_id for size in stats.largest] == expected
    assert (stats.steps, stats.mean_bytes) == (27, round(27 * SIZE / 25))


def test_growth_per_day_in_utc() -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moment = timedelta(microseconds=1)
    for step, made in enumerate(
        [
            midnight + timedelta(days=1),
            midnight + timedelta(days=1) - moment,
            midnight,
            midnight - moment,
            midnight - timedelta(days=29),
            midnight - timedelta(days=29) - moment,
        ]
    ):
        save("a", [step], created_at=made)
    days = {day.day: (day.steps, day.bytes) for day in collect().growth}
    today = midnight.date()
    assert list(days) == [today - timedelta(days=age) for age in reversed(range(30))]
    assert {day: measured for day, measured in days.items() if measured != (0, 0)} == {
        today: (2, 2 * SIZE),
        today - timedelta(days=1): (1, SIZE),
        today - timedelta(days=29): (1, SIZE),
    }


def test_what_retention_would_free(settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {
        "RETENTION": [{"keep_last": 2}, {"delete_inactive": "1d"}, {"keep_last": 1}]
    }
    save("a", range(5))
    save("b", range(3))
    Session.objects.filter(pk="b").update(updated_at=datetime.now(UTC) - timedelta(days=2))
    before = list(Step.objects.values_list())
    effects = collect().retention
    assert [(e.result.steps, e.result.sessions, e.result.bytes) for e in effects] == [
        (4, 0, 4 * SIZE),
        (3, 1, 3 * SIZE),
        (6, 0, 6 * SIZE),
    ]
    assert effects[1].policy == RetentionPolicy(delete_inactive=timedelta(days=1))
    assert list(Step.objects.values_list()) == before
    assert run(STATS).lines[-4:] == [
        "Each policy of RETENTION alone would delete",
        f"  keep_last=2: 4 steps, 0 sessions, {4 * SIZE} bytes",
        f"  delete_inactive=1 day, 0:00:00: 3 steps, 1 session, {3 * SIZE} bytes",
        f"  keep_last=1: 6 steps, 0 sessions, {format_size(6 * SIZE)}",
    ]
    prune(effects[0].policy)
    assert Step.objects.count() == len(before) - effects[0].result.steps


def test_a_malformed_retention(settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": [{"keep": 1}]}
    with pytest.raises(CommandError, match="RETENTION"):
        run(STATS)


@pytest.mark.usefixtures("whole_states")
def test_the_text() -> None:
    now = datetime.now(UTC)
    save('a"\n', [1, 2, 3])
    save("b", [1], created_at=now - timedelta(days=1))
    text = run(STATS).out
    lines = text.splitlines()
    assert lines[0] == "sessions  2 (0 empty, 2 resumable, 0 finished)"
    assert lines[1] == "steps     4"
    assert lines[3] == f"stored    {format_size(6 * SIZE)}, with keyframes and snapshots"
    size, stored = f"{3 * SIZE} bytes", f"{4 * SIZE} bytes stored"
    assert f'  {size:>10}  {stored:>17}         3 steps  "a\\"\\n"' in lines
    days = [line for line in lines if line.startswith("  20")]
    assert len(days) == 30
    assert days[-1].endswith(f"{3 * SIZE} bytes  " + "#" * 30)
    assert days[-2].endswith(f"{SIZE} bytes  " + "#" * 10)
    assert days[0].endswith("0 bytes")
    assert lines[-1] == "The setting RETENTION is empty."
    assert "\xa0" not in text


@pytest.mark.usefixtures("whole_states")
def test_the_json(settings: Any) -> None:
    policy = {"keep_last": 1, "older_than": "12h", "session_ids": ["a"], "status": "resumable"}
    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": [policy]}
    save("a", [1, 2], created_at=datetime.now(UTC) - timedelta(days=1))
    document = json.loads(run(STATS, "--format", "json").out)
    stats = collect()
    assert document["database"] == "default"
    assert document["sessions"] == {"empty": 0, "resumable": 1, "finished": 0}
    assert (document["steps"], document["bytes"]) == (2, 2 * SIZE)
    assert document["mean_bytes"] == 2 * SIZE
    assert document["stored_bytes"] == 3 * SIZE
    assert document["largest"] == [
        {"session_id": "a", "steps": 2, "bytes": 2 * SIZE, "stored_bytes": 3 * SIZE}
    ]
    assert [
        DayGrowth(day=datetime.fromisoformat(day.pop("day")).date(), **day)
        for day in document["growth"]
    ] == list(stats.growth)
    (effect,) = document["retention"]
    assert effect["policy"] == {
        "keep_last": 1,
        "older_than": 12 * 3600,
        "delete_inactive": None,
        "session_ids": ["a"],
        "status": "resumable",
        "owner": None,
        "labels": None,
    }
    assert effect["result"]["steps"] == 1


def test_a_few_statements_that_read_no_state() -> None:
    for count in (1, 30):
        for number in range(count):
            save(f"s{number}", [1, 2])
        with captured() as queries:
            collect()
        assert len(queries) == 7
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {STEP} SET state_bytes = 10")
    assert collect().bytes == 10 * Step.objects.count()
