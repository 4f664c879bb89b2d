"""``find_sessions``: all conditions, in the order of the last update, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import save_history
from tests.domain.test_labels import NOT_KEYS, NOT_VALUES
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints import InvalidQuery, NodeKind, SerializationError, SessionPage
from weavegraph_checkpoints.backends import labels as label_statements
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Label, Session

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(params=["rare", "common"], autouse=True)
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find sessions both from the index of labels and in the order of the page."""
    if request.param == "common":
        monkeypatch.setattr(label_statements, "MAX_RARE_SESSIONS", -1)


def add(session_id: str, updated_at: datetime = NOON, **labels: str) -> None:
    """Add a session without steps, and its labels."""
    Session.objects.create(id=session_id, created_at=NOON, updated_at=updated_at)
    Label.objects.bulk_create(
        Label(session_id=session_id, key=key, value=value) for key, value in labels.items()
    )


def ids(page: SessionPage) -> list[str]:
    return [session.session_id for session in page.sessions]


def all_ids(checkpointer: DjangoCheckpointer, **conditions: Any) -> list[str]:
    """Return the ids on all pages."""
    page = checkpointer.find_sessions(**conditions)
    found = ids(page)
    while page.next_after is not None:
        page = checkpointer.find_sessions(**{**conditions, "after": page.next_after})
        assert page.sessions
        found += ids(page)
    return found


def test_without_sessions_the_page_is_empty(django: DjangoCheckpointer) -> None:
    assert django.find_sessions() == SessionPage(sessions=(), next_after=None)
    assert django.find_sessions(labels={"a": "b"}) == SessionPage(sessions=(), next_after=None)


def test_a_session_has_its_small_columns_and_labels(django: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint(session_id="source", step=3)
    DjangoCheckpointer(owner="ann").save(saved)
    django.set_labels("source", {"b": "2", "a": ""})
    django.fork_session("source", "fork")
    fork, source = django.find_sessions(labels={"a": ""}).sessions
    row = Session.objects.get(id="fork")
    assert (source.session_id, source.forked_from, source.forked_at_step) == ("source", "", None)
    assert (fork.session_id, fork.forked_from, fork.forked_at_step) == ("fork", "source", 3)
    for name in (
        "owner",
        "status",
        "concurrency_limit",
        "created_at",
        "updated_at",
        "last_step",
        "revision",
        "last_message_count",
        "last_error_count",
        "last_state_bytes",
    ):
        assert getattr(fork, name) == getattr(row, name)
    assert fork.last_frontier == saved.frontier
    assert list(fork.labels.items()) == [("a", ""), ("b", "2")]
    assert fork.updated_at.tzinfo is UTC


def test_an_empty_session_is_found_too(django: DjangoCheckpointer) -> None:
    add("empty", env="test")
    (found,) = django.find_sessions(status="empty", labels={"env": "test"}).sessions
    assert (found.last_step, found.last_frontier, found.last_state_bytes) == (0, (), None)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (None, ["a", "b", "c", "d"]),
        ({}, ["a", "b", "c", "d"]),
        ({"env": "test"}, ["a", "b"]),
        ({"env": "TEST"}, ["c"]),
        ({"env": "test "}, []),
        ({"ENV": "test"}, ["d"]),
        ({"env": "test", "customer": "1"}, ["a"]),
        ({"env": "test", "customer": ""}, ["b"]),
        ({"env": "test", "customer": "1", "team": "x"}, []),
        ({"absent": ""}, []),
    ],
)
def test_all_labels_must_match(
    django: DjangoCheckpointer, labels: dict[str, str] | None, found: list[str]
) -> None:
    add("a", env="test", customer="1")
    add("b", env="test", customer="")
    add("c", env="TEST", customer="1")
    add("d", ENV="test")
    assert ids(django.find_sessions(labels=labels)) == found


def test_the_most_recently_updated_comes_first_and_ties_by_id(django: DjangoCheckpointer) -> None:
    for name, minutes in [("b", 1), ("a", 1), ("c", 2), ("B", 1), ("z", 0), ("á", 1)]:
        add(name, NOON + timedelta(minutes=minutes), env="test")
    expected = ["c", "B", "a", "b", "á", "z"]
    for conditions in ({}, {"labels": {"env": "test"}}, {"status": "empty"}):
        assert ids(django.find_sessions(**conditions)) == expected
        for limit in (1, 2, 3, 6):
            assert all_ids(django, limit=limit, **conditions) == expected


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({"updated_after": NOON}, ["c", "b"]),
        ({"updated_before": NOON}, ["b", "a"]),
        ({"updated_after": NOON, "updated_before": NOON}, ["b"]),
        ({"updated_after": NOON + timedelta(microseconds=1)}, ["c"]),
        ({"updated_before": NOON - timedelta(microseconds=1)}, ["a"]),
        ({"updated_after": NOON.astimezone(timezone(timedelta(hours=5)))}, ["c", "b"]),
        ({"updated_after": datetime.max.replace(tzinfo=UTC)}, []),
        ({"updated_before": datetime.min.replace(tzinfo=UTC)}, []),
        ({"labels": {"n": "1"}, "updated_after": NOON}, ["b"]),
    ],
)
def test_a_range_of_updates_includes_its_ends(
    django: DjangoCheckpointer, conditions: dict[str, Any], found: list[str]
) -> None:
    add("a", NOON - timedelta(milliseconds=1), n="0")
    add("b", NOON, n="1")
    add("c", NOON + timedelta(milliseconds=1), n="2")
    assert ids(django.find_sessions(**conditions)) == found


def test_a_range_includes_what_the_trigger_wrote(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    (session,) = django.find_sessions().sessions
    at = session.updated_at
    assert ids(django.find_sessions(updated_after=at, updated_before=at)) == ["session"]


def test_statuses_and_owners(django: DjangoCheckpointer) -> None:
    ann = DjangoCheckpointer(owner="ann")
    ann.save(a_checkpoint("hers", frontier=["End"]))
    django.save(a_checkpoint("nobody's", frontier=["plan"]))
    add("empty")
    for session_id in ("hers", "nobody's", "empty"):
        django.set_labels(session_id, {"env": "test"})
    by_status = {"finished": ["hers"], "resumable": ["nobody's"], "empty": ["empty"]}
    for labels in ({}, {"env": "test"}):
        for status, found in by_status.items():
            assert ids(django.find_sessions(status=status, labels=labels)) == found
        assert ids(ann.find_sessions(labels=labels)) == ["hers"]
        assert ids(ann.find_sessions(status="empty", labels=labels)) == []
        nobodys = DjangoCheckpointer(owner="").find_sessions(labels=labels)
        assert set(ids(nobodys)) == {"nobody's", "empty"}


def test_pages_follow_each_other_while_sessions_are_saved(django: DjangoCheckpointer) -> None:
    history = [f"s{number}" for number in range(7)]
    for session_id in history:
        save_history(django, session_id, [1])
    first = django.find_sessions(limit=3)
    seen = ids(first)
    save_history(django, "new", [1])
    django.delete_session(seen[-1])
    rest = all_ids(django, limit=2, after=first.next_after)
    assert sorted(seen + rest) == history
    assert len(rest) == 4


def test_the_last_page_says_so(django: DjangoCheckpointer) -> None:
    for number in range(4):
        add(f"s{number}")
    assert django.find_sessions(limit=4).next_after is None
    page = django.find_sessions(limit=3)
    assert page.next_after is not None
    assert django.find_sessions(limit=3, after=page.next_after).next_after is None


@pytest.mark.parametrize(
    ("limit", "size"), [(0, 0), (1, 1), (50, 50), (10**9, 60), (2**63 - 1, 60)]
)
def test_a_limit(django: DjangoCheckpointer, limit: int, size: int) -> None:
    Session.objects.bulk_create(Session(id=f"s{number}") for number in range(60))
    assert len(django.find_sessions(limit=limit).sessions) == size
    assert len(django.find_sessions().sessions) == 50


def test_a_page_has_1000_sessions_at_most(django: DjangoCheckpointer) -> None:
    Session.objects.bulk_create(Session(id=f"s{number:04}") for number in range(1001))
    page = django.find_sessions(limit=5000)
    assert len(page.sessions) == 1000
    assert len(django.find_sessions(after=page.next_after).sessions) == 1


VALID_CURSOR = "WyIyMDI2LTA1LTA0IDEyOjAwOjAwIiwgInMiXQ"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("labels", {key: "value"}) for key in NOT_KEYS],
        *[("labels", {"key": value}) for value in NOT_VALUES],
        ("labels", {f"key{number}": "" for number in range(65)}),
        ("labels", "a=b"),
        ("labels", 1),
        *[("status", value) for value in ("", "Finished", "unknown", 1, True)],
        *[
            (name, value)
            for name in ("updated_after", "updated_before")
            for value in ("2026-05-04", datetime(2026, 5, 4), 1, True)
        ],
        *[("limit", value) for value in (-1, 2**63, 1.0, "1", None, True)],
        *[
            ("after", value)
            for value in (
                "",
                "x",
                "é",
                "=",
                "\0",
                "bnVsbA",
                "W10",
                "WyIiXQ",
                VALID_CURSOR[:-2],
                VALID_CURSOR + "A",
                1,
                b"",
                True,
                "WyIyMDI2LTEzLTA0IDEyOjAwOjAwIiwgInMiXQ",  # month 13
                "WyIwMDAwLTAxLTA0IDEyOjAwOjAwIiwgInMiXQ",  # year 0
                "WyIyMDI2LTA1LTA0IDEyOjAwOjAwIiwgIiJd",  # an empty id
                "WzEsIDJd",
                "W" * 5000,
                "W1tb" * 5000,
            )
        ],
    ],
)
def test_an_invalid_parameter_is_refused(django: DjangoCheckpointer, name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(InvalidQuery) as caught:
        django.find_sessions(**arguments)
    assert caught.value.path.startswith(name)


def test_a_cursor_is_text_for_a_url(django: DjangoCheckpointer) -> None:
    for name in ("a", "😀?&", "x" * 255):
        add(name)
    page = django.find_sessions(limit=1)
    assert page.next_after is not None
    assert page.next_after.replace("-", "").replace("_", "").isalnum()
    assert all_ids(django, limit=1) == ["a", "x" * 255, "😀?&"]


def test_a_corrupt_row_is_named(django: DjangoCheckpointer) -> None:
    save_history(django, "session", [1])
    Session.objects.update(last_frontier=[1])
    with pytest.raises(SerializationError, match="'session'"):
        django.find_sessions()


def test_nodes_of_any_name(django: DjangoCheckpointer) -> None:
    django.save(a_checkpoint(frontier=[NodeKind.custom("Start"), "plan", NodeKind.END]))
    (found,) = django.find_sessions().sessions
    assert found.last_frontier == (NodeKind.custom("Start"), NodeKind.custom("plan"), NodeKind.END)


SECONDS = st.integers(0, 3)
LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "1"]))


@given(
    sessions=st.lists(st.tuples(SECONDS, LABELS), max_size=8),
    wanted=LABELS,
    after=st.none() | SECONDS,
    before=st.none() | SECONDS,
    limit=st.integers(1, 3),
)
@pytest.mark.django_db(transaction=False)
def test_any_query_agrees_with_a_list(
    sessions: list[tuple[int, dict[str, str]]],
    wanted: dict[str, str],
    after: int | None,
    before: int | None,
    limit: int,
) -> None:
    Label.objects.all().delete()
    Session.objects.all().delete()
    for number, (second, labels) in enumerate(sessions):
        add(f"s{number}", NOON + timedelta(seconds=second), **labels)
    expected = [
        (-second, f"s{number}")
        for number, (second, labels) in enumerate(sessions)
        if wanted.items() <= labels.items()
        and (after is None or second >= after)
        and (before is None or second <= before)
    ]
    found = all_ids(
        DjangoCheckpointer(),
        labels=wanted,
        limit=limit,
        updated_after=None if after is None else NOON + timedelta(seconds=after),
        updated_before=None if before is None else NOON + timedelta(seconds=before),
    )
    assert found == [session_id for _, session_id in sorted(expected)]


def test_the_same_moment_written_by_the_trigger_and_by_django(django: DjangoCheckpointer) -> None:
    """SQLite compares text: ``….120`` and ``….120000`` are one moment and two texts."""
    for name in "abcdef":
        add(name, NOON + timedelta(milliseconds=120))
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {Session._meta.db_table} SET updated_at = '2026-05-04 12:00:00.120'"
                " WHERE id IN ('a', 'c', 'e')"
            )
    moment = NOON + timedelta(milliseconds=120)
    found = all_ids(django, limit=1, updated_after=moment, updated_before=moment)
    assert sorted(found) == list("abcdef")
