"""The events of a session: the same under WSGI and under ASGI."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.test import Client

from tests.api.clients import assert_error, create_client, segment, session_url
from tests.api.event_streams import Listener
from tests.api.queries import capture_app_queries
from tests.api.test_ids import AWKWARD
from tests.builders import save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import Message, VersionedState
from weavegraph_checkpoints.api.event_feed import MAX_STEPS_PER_POLL
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.domain.limits import MAX_STEP
from weavegraph_checkpoints.models import Session, Step

RUN = session_url("run", "events/")
FROM_THE_BEGINNING = f"{RUN}?after_step=-1"


@pytest.fixture(autouse=True)
def half_a_minute(settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"EVENTS_MAX_SECONDS": 30}


@pytest.fixture
def watcher(db: Any) -> Client:
    return create_client("view_session")


def save(*steps: int, session_id: str = "run", **fields: Any) -> Any:
    """Return an action that saves steps."""
    return lambda: save_history(DjangoCheckpointer(), session_id, steps, **fields)


def insert(steps: Iterable[int]) -> None:
    """Insert small steps at once."""
    Session.objects.bulk_create([Session(id="run")], ignore_conflicts=True)
    Step.objects.bulk_create(
        [Step(session_id="run", step=step, frontier=["Custom:x"], state={}) for step in steps]
    )


def finish(step: int) -> Any:
    return save(step, frontier=[])


def delete() -> None:
    assert DjangoCheckpointer().delete_session("run")


def test_an_event_is_a_step_without_its_state(listener: Listener, watcher: Client) -> None:
    state = VersionedState.new([Message.user("secret"), Message.tool("x")], {"key": "secret"})
    step = a_checkpoint(
        "run",
        7,
        state=state,
        created_at=datetime(2026, 5, 4, 10, 0, 3, 250_000, tzinfo=UTC),
        frontier=["End", "plan", 'a"\nb\u2028'],
        ran_nodes=["plan"],
        skipped_nodes=["review"],
        updated_channels=["messages"],
        versions_seen={"plan": {"messages": 1}},
    )
    DjangoCheckpointer().save(step)
    stream = listener.listen(watcher, FROM_THE_BEGINNING)
    assert [event.name for event in stream.events] == ["checkpoint", "end"]
    assert stream.events[0].id == "7"
    assert stream.events[0].data == {
        "session_id": "run",
        "url": "http://testserver/api/sessions/run/steps/7/",
        "step": 7,
        "created_at": "2026-05-04T10:00:03.250000Z",
        "frontier": ["End", "Custom:plan", 'Custom:a"\nb\u2028'],
        "ran_nodes": ["Custom:plan"],
        "skipped_nodes": ["Custom:review"],
        "updated_channels": ["messages"],
        "message_count": 2,
        "error_count": 0,
        "state_bytes": Step.objects.get().state_bytes,
    }
    shared = watcher.get(session_url("run", "steps/7/")).json()
    data = stream.events[0].data
    assert {key: data[key] for key in data if key in shared} == {
        key: shared[key] for key in shared if key in data
    }


def test_a_step_that_another_program_wrote(listener: Listener, watcher: Client) -> None:
    Session.objects.create(id="run")
    Step.objects.create(session_id="run", step=0, frontier=["End"], state={})
    stream = listener.listen(watcher, FROM_THE_BEGINNING)
    data = stream.events[0].data
    assert (data["step"], data["updated_channels"], data["state_bytes"]) == (0, [], None)
    assert (stream.steps, stream.end) == ([0], "finished")


def test_new_steps_are_sent_until_the_session_finishes(listener: Listener, watcher: Client) -> None:
    save(1, 2)()
    stream = listener.listen(watcher, RUN, save(3), lambda: None, save(4, 5), finish(9))
    assert (stream.steps, stream.end, stream.last_id) == ([3, 4, 5, 9], "finished", "9")
    assert listener.sleeps == [1, 1, 1, 1]


def test_a_session_without_steps(listener: Listener, watcher: Client) -> None:
    Session.objects.create(id="run")
    stream = listener.listen(watcher, RUN, save(0), save(1), finish(2))
    assert (stream.steps, stream.end) == ([0, 1, 2], "finished")


@pytest.mark.parametrize(
    ("query", "headers", "sent"),
    [
        ("", {}, []),
        ("?after_step=-1", {}, [0, 1, 5, 9]),
        ("?after_step=0", {}, [1, 5, 9]),
        ("?after_step=1", {}, [5, 9]),
        ("?after_step=4", {}, [5, 9]),
        ("?after_step=9", {}, []),
        ("?after_step=10", {}, []),
        (f"?after_step={MAX_STEP}", {}, []),
        ("", {"Last_Event_ID": "-1"}, [0, 1, 5, 9]),
        ("", {"Last_Event_ID": "1"}, [5, 9]),
        ("", {"Last_Event_ID": str(MAX_STEP)}, []),
        ("", {"Last_Event_ID": ""}, []),
        ("?after_step=5", {"Last_Event_ID": ""}, [9]),
        ("?after_step=0", {"Last_Event_ID": "5"}, [9]),
    ],
)
@pytest.mark.parametrize("is_finished", [False, True])
def test_where_a_stream_begins(
    listener: Listener,
    watcher: Client,
    query: str,
    headers: dict[str, str],
    sent: list[int],
    is_finished: bool,
) -> None:
    save(0, 1, 5)()
    save(9, frontier=[] if is_finished else ["next"])()
    stream = listener.listen(watcher, RUN + query, **headers)
    assert (stream.steps, stream.end) == (sent, "finished" if is_finished else "timeout")


@pytest.mark.parametrize(
    ("query", "headers", "path"),
    [
        *((f"?after_step={text}", {}, "after_step") for text in
          ("", "-2", "-0", "x", "1.0", "1e3", "true", "%00", "%D9%A3", "+1", "%201", "-", "-9" * 40,
           MAX_STEP + 1, "9" * 5000)),
        *(("", {"Last_Event_ID": text}, "Last-Event-ID") for text in
          ("-2", "x", "1.0", "007", "null", " 1 2", "1,2", str(MAX_STEP + 1), "9" * 5000, "\xe9",
           "%31")),
        *((f"?poll={text}", {}, "poll") for text in
          ("", "0", "0.1", "0.19", "10.1", "11", "-1", "nan", "inf", "1e0", "x", "%D9%A3", "1,5",
           "1.", ".5", "9" * 5000, "0x1", "1_0", "%201")),
    ],
)  # fmt: skip
def test_invalid_parameters(
    listener: Listener, watcher: Client, query: str, headers: dict[str, str], path: str
) -> None:
    save(1)()
    assert_error(listener.get(watcher, RUN + query, **headers), 400, "invalid", path)


@pytest.mark.parametrize("poll", ["0.2", "0.30000000000000004", "1", "2.5", "10", "10.0"])
def test_poll_is_the_time_between_two_look_ups(
    listener: Listener, watcher: Client, poll: str
) -> None:
    save(1)()
    stream = listener.listen(watcher, f"{RUN}?poll={poll}")
    assert stream.end == "timeout"
    assert max(listener.sleeps) == float(poll)
    assert sum(listener.sleeps) == pytest.approx(30)


def test_heartbeats(listener: Listener, watcher: Client, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"EVENTS_MAX_SECONDS": 100}
    save(1)()
    quiet = listener.listen(watcher, f"{RUN}?poll=10")
    assert (quiet.comments, quiet.events[0].name) == (6, "end")
    nothing = [lambda: None] * 10
    busy = listener.listen(watcher, RUN, *nothing, save(2), *nothing, save(3), *nothing)
    assert (busy.steps, busy.comments) == ([2, 3], 5)


def test_the_end_after_events_max_seconds(
    listener: Listener, watcher: Client, settings: Any
) -> None:
    save(4)()
    for seconds in (1, 7):
        settings.WEAVEGRAPH_CHECKPOINTS = {"EVENTS_MAX_SECONDS": seconds}
        stream = listener.listen(watcher, f"{RUN}?poll=5")
        assert sum(listener.sleeps) == seconds
        assert (stream.steps, stream.end, stream.last_id) == ([], "timeout", "4")
    later = listener.listen(watcher, RUN, finish(5), Last_Event_ID=stream.last_id)
    assert (later.steps, later.end) == ([5], "finished")


def test_a_connection_that_is_lost_before_the_first_event_loses_no_step(
    listener: Listener, watcher: Client
) -> None:
    """The beginning of a stream sets the id from which a browser resumes."""
    for existing, known in (([], "-1"), ([0], "0"), ([3], "3")):
        Session.objects.filter(id="run").delete()
        Session.objects.create(id="run")
        save(*existing)()
        response = listener.get(watcher, RUN)
        assert next(iter(response.streaming_content)) == f"id: {known}\n\n".encode()


def test_a_long_backlog_is_sent_in_parts(listener: Listener, watcher: Client) -> None:
    count = 2 * MAX_STEPS_PER_POLL + 50
    insert(range(count))
    finish(count)()
    stream, queries = capture_app_queries(lambda: listener.listen(watcher, FROM_THE_BEGINNING))
    assert stream.steps == list(range(count + 1))
    assert (stream.end, listener.sleeps) == ("finished", [])
    assert len(queries) < 12


def test_a_backlog_longer_than_a_connection(
    listener: Listener, watcher: Client, monkeypatch: Any
) -> None:
    """Each connection sends something, however little time it has."""
    monkeypatch.setattr("weavegraph_checkpoints.api.event_feed.MAX_STEPS_PER_POLL", 3)
    save(*range(5))()
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr("weavegraph_checkpoints.api.event_feed.monotonic", lambda: next(clock))
    steps, known = [], "-1"
    for _ in range(3):
        stream = listener.listen(watcher, RUN, Last_Event_ID=known)
        assert stream.end == "timeout"
        steps += stream.steps
        known = stream.last_id
    assert steps == [0, 1, 2, 3, 4]


def test_replaced_and_late_steps_are_not_sent(listener: Listener, watcher: Client) -> None:
    save(1, 5)()
    stream = listener.listen(watcher, RUN, save(5), save(3), save(6), save(6, 1), finish(7))
    assert (stream.steps, stream.end) == ([6, 7], "finished")


def test_a_replaced_step_can_finish_a_session_or_continue_it(
    listener: Listener, watcher: Client
) -> None:
    save(1)()
    stream = listener.listen(watcher, RUN, save(2), finish(2))
    assert (stream.steps, stream.end) == ([2], "finished")
    save(2)()
    stream = listener.listen(watcher, RUN, finish(3))
    assert (stream.steps, stream.end) == ([3], "finished")


def test_a_deleted_session(listener: Listener, watcher: Client) -> None:
    save(1)()
    stream = listener.listen(watcher, RUN, save(2), delete)
    assert (stream.steps, stream.end) == ([2], "deleted")
    assert_error(listener.get(watcher, RUN), 404, "not_found")


@pytest.mark.parametrize("steps", [[], [1], [1, 2], [1, 2, 3], range(20)])
@pytest.mark.parametrize("is_same_tick", [False, True])
def test_a_session_that_is_deleted_and_created_again(
    listener: Listener, watcher: Client, steps: list[int], is_same_tick: bool
) -> None:
    """No step of the new session is sent, even if the clock did not move."""
    save(1)()
    before = Session.objects.get().created_at

    def recreate() -> None:
        delete()
        Session.objects.create(id="run")
        save(*steps)()
        if is_same_tick:
            Session.objects.update(created_at=before)

    stream = listener.listen(watcher, RUN, save(2), recreate)
    assert (stream.steps, stream.end) == ([2], "deleted")


def test_a_session_created_again_within_a_look_up(
    listener: Listener, watcher: Client, monkeypatch: Any
) -> None:
    """It is deleted after its progress was read, and before its steps are."""
    from weavegraph_checkpoints.api import event_feed

    save(1)()
    check = event_feed.EventFeed._is_allowed

    def recreate(feed: Any, seconds: float) -> bool:
        delete()
        save(1, 2, 3)()
        return check(feed, seconds)

    def race() -> None:
        save(2)()
        monkeypatch.setattr(event_feed.EventFeed, "_is_allowed", recreate)

    stream = listener.listen(watcher, RUN, race)
    assert (stream.steps, stream.end) == ([], "deleted")


def test_a_newest_step_that_was_deleted_by_hand(listener: Listener, watcher: Client) -> None:
    save(1, 2)()

    def delete_newest() -> None:
        Step.objects.filter(step=2).delete()

    stream = listener.listen(watcher, RUN, delete_newest, lambda: None, finish(3))
    assert (stream.steps, stream.end) == ([3], "finished")


def test_pruned_steps_are_left_out(listener: Listener, watcher: Client) -> None:
    save(*range(6))()
    Step.objects.filter(step__in=(1, 2, 4)).delete()
    assert listener.listen(watcher, FROM_THE_BEGINNING).steps == [0, 3, 5]


def test_an_unknown_session(listener: Listener, watcher: Client) -> None:
    for unknown in ("run", "~", segment("x" * 300), segment("a\0b")):
        url = session_url(unknown, "events/")
        assert_error(listener.get(watcher, url), 404, "not_found")


@pytest.mark.parametrize("session_id", AWKWARD)
def test_every_id(listener: Listener, watcher: Client, session_id: str) -> None:
    save(1, session_id=session_id)()
    url = session_url(segment(session_id), "events/")
    stream = listener.listen(watcher, url, save(2, session_id=session_id, frontier=[]))
    assert stream.events[0].data["session_id"] == session_id
    assert stream.events[0].data["url"] == f"http://testserver{url.replace('events', 'steps/2')}"


def test_headers(listener: Listener, watcher: Client) -> None:
    finish(1)()
    response = listener.get(watcher, RUN, Accept="text/event-stream")
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "private, no-cache, no-transform"
    assert response["X-Accel-Buffering"] == "no"
    assert not response.has_header("Content-Length")


@pytest.mark.parametrize("accept", ["text/event-stream", "text/*", "*/*", "text/html, */*;q=0.8"])
def test_accepted_formats(listener: Listener, watcher: Client, accept: str) -> None:
    finish(1)()
    assert listener.listen(watcher, RUN) is not None
    assert listener.get(watcher, RUN, Accept=accept).status_code == 200
    missing = listener.get(watcher, session_url("nope", "events/"), Accept=accept)
    assert_error(missing, 404, "not_found")
    assert_error(listener.get(watcher, RUN, Accept="application/json"), 406, "not_acceptable")


def test_other_methods(watcher: Client) -> None:
    save(1)()
    head = watcher.head(RUN)
    assert (head.status_code, head["Content-Type"]) == (200, "text/event-stream")
    assert not head.streaming
    assert watcher.head(session_url("no", "events/")).status_code == 404
    options = watcher.options(RUN, headers={"Accept": "application/json"})
    assert options.status_code == 200
    assert_error(create_client(is_superuser=True).post(RUN), 405, "method_not_allowed")


def test_compression_does_not_hold_events_back(
    listener: Listener, watcher: Client, settings: Any
) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    save(1)()
    response = listener.get(watcher, FROM_THE_BEGINNING, Accept_Encoding="gzip")
    parts = iter(response.streaming_content)
    assert next(parts) == b"id: -1\n\n"
    assert next(parts).startswith(b"id: 1\nevent: checkpoint\n")


@pytest.mark.parametrize("count", [10, 300])
def test_the_number_of_queries(listener: Listener, watcher: Client, count: int) -> None:
    """One look-up by key while nothing happens, and one more query for any number of steps."""
    insert(range(count))
    quiet = read_queries(lambda: listener.listen(watcher, RUN))
    # One look-up at the beginning, one right after it, and one per poll.
    assert len(quiet) == 2 + len(listener.sleeps)
    for saved in (1, 40):
        first = Step.objects.latest("step").step + 1
        new = partial(insert, range(first, first + saved))
        queries = read_queries(partial(listener.listen, watcher, RUN, new))
        assert len(queries) == len(quiet) + 1


def read_queries(listen: Any) -> list[str]:
    """Return the queries of a stream, none of which reads a state."""
    _, queries = capture_app_queries(listen)
    reads = [sql for sql in queries if sql.startswith("SELECT")]
    columns = [sql.partition(" FROM ")[0] for sql in reads]
    assert not any("versions_seen" in each or '"state"' in each for each in columns)
    assert not any("`state`" in each or "last_state" in each for each in columns)
    return reads


def test_the_data_is_one_line(listener: Listener, watcher: Client) -> None:
    nodes = ["a\nb", "c\rd", "data: x", "\n\nevent: end\n\n", "\u2028"]
    save(1, frontier=nodes)()
    stream = listener.listen(watcher, FROM_THE_BEGINNING)
    assert stream.events[0].data["frontier"] == [f"Custom:{node}" for node in nodes]
