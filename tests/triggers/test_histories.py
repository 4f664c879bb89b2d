"""Whatever was written in whatever order: each session equals what its steps say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from hypothesis import given
from hypothesis import strategies as st

from tests.scratch import execute
from tests.triggers.helpers import (
    MAX_STEP,
    STEP,
    Row,
    case_of,
    content,
    create_session,
    create_step,
    derived,
    forget_updates,
    moved,
    revision,
    snapshot,
    upsert_suffix,
    write_sql,
)
from weavegraph_checkpoints import Checkpoint, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Step

SESSIONS = ("a", "A", "a ")
STEPS = (0, 1, 2, 3, 4, MAX_STEP)
FRONTIERS = ([], ["End"], ["End", "End"], ["Custom:End"], ["Start", "End"], ["Custom:x"])

Key = tuple[str, int]


@dataclass
class Touched:
    """How often a statement touched a session: by writes, and by deletes at least and at most."""

    writes: int = 0
    deletes: tuple[int, int] = (0, 0)


@dataclass
class Model:
    """The steps that must be there, and how often each session was touched by a statement."""

    steps: dict[Key, dict[str, Any]] = field(default_factory=dict)
    touched: dict[str, Touched] = field(default_factory=dict)

    def of(self, session_id: str) -> dict[int, Row]:
        return {step: row for (owner, step), row in self.steps.items() if owner == session_id}

    def begin(self) -> None:
        self.touched = {session_id: Touched() for session_id in SESSIONS}

    def put(self, key: Key, row: dict[str, Any]) -> None:
        self.steps[key] = row
        self.touched[key[0]].writes += 1

    def move(self, targets: dict[Key, Key]) -> None:
        rows = {key: self.steps.pop(key) for key in targets}
        for key, target in targets.items():
            self.steps[target] = rows[key]
            for session_id in {key[0], target[0]}:
                self.touched[session_id].writes += 1

    def delete(self, session_id: str, steps: set[int]) -> None:
        newest = max(self.of(session_id), default=None)
        for step in steps:
            del self.steps[session_id, step]
        if newest in steps:
            self.touched[session_id].deletes = (1, len(steps))


class History:
    """Draws one statement after another, runs it, and keeps the model in step."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.model = Model()
        self.tag = 0

    def run(self) -> None:
        write = self.draw(st.sampled_from(WRITES))
        self.model.begin()
        before = {session_id: revision(session_id) for session_id in SESSIONS}
        forget_updates()
        write(self)
        for session_id in SESSIONS:
            self._check(session_id, before[session_id])

    def _check(self, session_id: str, before: int) -> None:
        touched = self.model.touched[session_id]
        fewest, most = (before + touched.writes + count for count in touched.deletes)
        assert fewest <= revision(session_id) <= most
        assert moved(session_id) == (touched.writes > 0)
        assert repr(snapshot(session_id)) == repr(derived(self.model.of(session_id)))

    def content(self) -> dict[str, Any]:
        self.tag += 1
        return content(self.tag, self.draw(st.sampled_from(FRONTIERS)))

    def session(self) -> str:
        return str(self.draw(st.sampled_from(SESSIONS)))

    def some(self, steps: Iterable[int]) -> list[int]:
        choices = sorted(steps)
        if not choices:
            return []
        subsets = st.lists(st.sampled_from(choices), unique=True, min_size=1)
        return list(self.draw(subsets))

    def new_rows(self, session_id: str) -> list[dict[str, Any]]:
        steps = self.some(set(STEPS) - set(self.model.of(session_id)))
        return [{"session_id": session_id, "step": step, **self.content()} for step in steps]

    def put(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            kept = {name: row[name] for name in content(0)}
            self.model.put((row["session_id"], row["step"]), kept)


def insert_one_by_one(history: History) -> None:
    rows = history.new_rows(history.session())
    for row in rows:
        Step.objects.create(**row)
    history.put(rows)


def bulk_create(history: History) -> None:
    rows = history.new_rows(history.session())
    Step.objects.bulk_create(Step(**row) for row in rows)
    history.put(rows)


def insert_by_sql(history: History) -> None:
    rows = history.new_rows(history.session())
    if rows:
        write_sql(rows)
    history.put(rows)


def upsert_by_sql(history: History) -> None:
    session_id = history.session()
    rows = [
        {"session_id": session_id, "step": step, **history.content()}
        for step in history.some(STEPS)
    ]
    write_sql(rows, upsert_suffix(connection))
    history.put(rows)


def update_or_create(history: History) -> None:
    session_id = history.session()
    for step in history.some(STEPS)[:2]:
        row = history.content()
        Step.objects.update_or_create(session_id=session_id, step=step, defaults=row)
        history.model.put((session_id, step), row)


def save_by_the_service(history: History) -> None:
    session_id = history.session()
    (step, *_others) = history.some(STEPS)
    state = VersionedState.new_with_user_message("hello")
    checkpoint = Checkpoint(
        session_id=session_id, step=step, state=state, frontier=["Start"], versions_seen={}
    )
    DjangoCheckpointer().save(checkpoint)
    row = Step.objects.filter(session_id=session_id, step=step).values(*content(0)).get()
    history.model.put((session_id, step), row)


def update(history: History) -> None:
    session_id = history.session()
    steps, row = history.some(history.model.of(session_id)), history.content()
    Step.objects.filter(session_id=session_id, step__in=steps).update(**row)
    for step in steps:
        history.model.put((session_id, step), row)


def move_steps(history: History) -> None:
    session_id = history.session()
    _move(history, session_id, session_id, history.draw(st.sampled_from([-1, 1, 7])))


def move_sessions(history: History) -> None:
    _move(history, history.session(), history.session(), 0)


def move_both(history: History) -> None:
    _move(history, history.session(), history.session(), history.draw(st.sampled_from([-1, 1, 7])))


def _move(history: History, source: str, target: str, offset: int) -> None:
    steps = history.some(history.model.of(source))
    targets = {(source, step): (target, step + offset) for step in steps}
    taken = set(targets.values()) & set(history.model.steps)
    if taken or any(not 0 <= step <= MAX_STEP for _, step in targets.values()):
        return
    moving = Step.objects.filter(session_id=source, step__in=steps)
    if offset == 0:
        moving.update(session_id=target)
    elif source == target:
        moving.update(step=F("step") + offset)
    else:
        moving.update(session_id=target, step=F("step") + offset)
    history.model.move(targets)


def swap_sessions(history: History) -> None:
    first, second = history.session(), history.session()
    ones, others = history.some(history.model.of(first)), history.some(history.model.of(second))
    if first == second or not ones or not others or ones[0] == others[0]:
        return
    targets = {(first, ones[0]): (second, ones[0]), (second, others[0]): (first, others[0])}
    if set(targets.values()) & set(history.model.steps):
        return
    new = {key: session_id for key, (session_id, _) in targets.items()}
    Step.objects.filter(session_id__in=[first, second], step__in=[ones[0], others[0]]).filter(
        pk__in=[Step.objects.get(session_id=s, step=n).pk for s, n in targets]
    ).update(session_id=case_of("session_id", new))
    history.model.move(targets)


def delete(history: History) -> None:
    session_id = history.session()
    steps = history.some(history.model.of(session_id))
    Step.objects.filter(session_id=session_id, step__in=steps).delete()
    history.model.delete(session_id, set(steps))


def delete_newest_by_sql(history: History) -> None:
    session_id = history.session()
    newest = max(history.model.of(session_id), default=None)
    if newest is not None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {STEP} WHERE session_id = %s AND step = %s", [session_id, newest]
            )
        history.model.delete(session_id, {newest})


def delete_all_by_sql(history: History) -> None:
    execute(connection, f"DELETE FROM {STEP}")
    for session_id in SESSIONS:
        history.model.delete(session_id, set(history.model.of(session_id)))


WRITES = (
    insert_one_by_one,
    bulk_create,
    insert_by_sql,
    upsert_by_sql,
    update_or_create,
    save_by_the_service,
    update,
    move_steps,
    move_sessions,
    move_both,
    swap_sessions,
    delete,
    delete_newest_by_sql,
    delete_all_by_sql,
)


@contextmanager
def undone() -> Iterator[None]:
    """Roll back what an example wrote."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.django_db
@given(data=st.data(), length=st.integers(1, 12))
def test_any_history_of_writes(data: st.DataObject, length: int) -> None:
    with undone():
        for session_id in SESSIONS:
            create_session(session_id)
        history = History(data.draw)
        create_step("a", 2, tag=1)
        history.model.steps["a", 2] = content(1)
        for _ in range(length):
            history.run()
