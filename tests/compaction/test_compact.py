"""``compact`` changes how states are stored, and nothing of what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection

from tests.builders import wrong_snapshots
from tests.compaction.histories import (
    CHANGES,
    WHOLE,
    a_conversation,
    a_message,
    a_window,
    count_deltas,
    random_states,
    read_states,
    rewritten_states,
    save,
    save_whole,
    stored_rows,
)
from weavegraph_checkpoints import Message, VersionedState, serde
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.compaction import CompactionResult, compact, count_steps, run, sql
from weavegraph_checkpoints.domain.retention import RetentionPolicy
from weavegraph_checkpoints.models import Keyframe, Session, Step
from weavegraph_checkpoints.pruning import prune
from weavegraph_checkpoints.serde.deltas import planning

pytestmark = pytest.mark.django_db

SHAPES: dict[str, Callable[[int], Iterable[VersionedState]]] = {
    "conversation": a_conversation,
    "window": a_window,
    "random": random_states,
    "rewritten": rewritten_states,
}


def stored_bytes() -> int:
    """Return the size of the JSON of all steps and keyframes."""
    return sum(
        len(serde.dumps_json(row.state).encode())
        for model in (Step, Keyframe)
        for row in model._default_manager.all()
    )


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_read_is_the_same(shape: str, batch_size: int) -> None:
    save_whole(SHAPES[shape](60))
    states, size = read_states(), stored_bytes()
    counts = list(Step.objects.order_by("pk").values_list("state_bytes", "message_count"))
    session = Session.objects.get()

    dry = compact(batch_size=batch_size, dry_run=True)
    assert (stored_bytes(), count_deltas()) == (size, 0)

    result = compact(batch_size=batch_size)
    assert result == dry
    assert result.checked == 60
    assert result.rewritten == count_deltas()
    assert result.saved_bytes == size - stored_bytes()
    assert read_states() == states
    assert [*Step.objects.order_by("pk").values_list("state_bytes", "message_count")] == counts
    assert wrong_snapshots() == []
    after = Session.objects.get()
    assert (after.updated_at, after.last_step) == (session.updated_at, session.last_step)
    assert after.revision == session.revision + result.rewritten

    rows = stored_rows()
    assert compact(batch_size=batch_size) == CompactionResult(checked=60)
    assert compact(batch_size=1000) == CompactionResult(checked=60)
    assert stored_rows() == rows
    assert Session.objects.get().revision == after.revision

    dry = compact(whole=True, batch_size=batch_size, dry_run=True)
    assert stored_rows() == rows
    restored = compact(whole=True, batch_size=batch_size)
    assert restored == dry
    assert restored.saved_bytes == -result.saved_bytes
    assert (stored_bytes(), count_deltas(), Keyframe.objects.count()) == (size, 0, 0)
    assert read_states() == states
    assert wrong_snapshots() == []
    assert Session.objects.get().updated_at == session.updated_at
    assert compact(whole=True) == CompactionResult(checked=60)


def test_a_conversation_shrinks_to_a_few_roots() -> None:
    save_whole(a_conversation(90))
    size = stored_bytes()
    result = compact()
    small = sum(row.state_bytes < 4096 for row in Step.objects.all())
    assert result.rewritten == 90 - small
    assert not Keyframe.objects.exclude(previous=None).exists()
    assert stored_bytes() < size / 8


@pytest.mark.parametrize("shape", ["window", "random"])
def test_chains_are_as_short_as_those_of_saves(shape: str) -> None:
    save_whole(SHAPES[shape](90))
    compact()
    assert Keyframe.objects.exclude(previous=None).exists()
    sizes = {row.pk: len(serde.dumps_json(row.state).encode()) for row in Keyframe.objects.all()}
    for row in Step.objects.exclude(base=None):
        chain = Keyframe.objects.filter(root_id=row.base.root_id, pk__gte=row.base_id)  # type: ignore[union-attr]
        total = sum(sizes[pk] for pk in chain.values_list("pk", flat=True))
        longest = planning.MAX_CHAIN_RATIO * (row.state_bytes or 0) + planning.FREE_CHAIN_BYTES
        assert total <= longest + planning.SMALL_DELTA_BYTES * 3


def test_states_that_share_nothing_stay_whole() -> None:
    save_whole(rewritten_states(10))
    assert compact() == CompactionResult(checked=10)
    assert not Keyframe.objects.exists()


def test_small_states_stay_whole(settings: Any) -> None:
    save_whole(a_conversation(6))
    assert compact() == CompactionResult(checked=6)
    settings.WEAVEGRAPH_CHECKPOINTS = {"CHANGES_FROM_BYTES": 1000}
    assert compact().rewritten > 3
    with WHOLE:
        assert compact().rewritten == 0


def test_the_default_applies_if_changes_are_off() -> None:
    save_whole(a_conversation(30))
    with WHOLE:
        assert compact().rewritten > 10


def test_saves_continue_on_the_newest_keyframe() -> None:
    states = [*a_conversation(50)]
    save_whole(states[:30])
    compact()
    base_id = Session.objects.get().last_base_id
    assert base_id is not None
    memory.clear()
    with CHANGES:
        save(states[30:], first=31)
    assert Keyframe.objects.exclude(previous=None).filter(root_id=base_id).exists()
    assert set(read_states().values()) == set(map(serde.dumps_state, states))


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_whole_steps_between_changes(batch_size: int) -> None:
    states = [*random_states(60)]
    with CHANGES:
        save(states[:20])
        save_whole(states[20:40], first=21)
        save(states[40:], first=41)
    expected, before = read_states(), count_deltas()
    existing = set(Keyframe.objects.values_list("pk", flat=True))
    result = compact(batch_size=batch_size)
    assert result.rewritten > 5
    assert count_deltas() == before + result.rewritten
    assert existing <= set(Keyframe.objects.values_list("pk", flat=True))
    assert read_states() == expected
    rows = stored_rows()
    assert compact(batch_size=batch_size).rewritten == 0
    assert stored_rows() == rows


def test_a_whole_state_that_names_a_keyframe() -> None:
    with CHANGES:
        save(a_conversation(30))
    newest = Step.objects.get(step=30)
    whole = newest.whole_state()
    Step.objects.filter(pk=newest.pk).update(state=whole)
    compact()
    newest.refresh_from_db()
    assert count_deltas() == Step.objects.exclude(base=None).count()
    assert (newest.whole_state(), newest.base_id is None) == (whole, False)

    Step.objects.filter(pk=newest.pk).update(state=whole)
    compact(whole=True)
    newest.refresh_from_db()
    assert (newest.state, newest.base_id) == (whole, None)
    assert not Keyframe.objects.exists()


def write(step: int, document: str) -> None:
    """Store a document as another program would."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {Step._meta.db_table} SET state = %s, state_bytes = NULL WHERE step = %s",
            [document, step],
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('{"messages"', '{"more":1,"messages"', 1),
        lambda text: text.replace('"content"', '"name":"x","content"', 1),
        lambda text: text.replace(',"errors":{"version":1,"items":[]}', "", 1),
        lambda text: text.replace('"version":1', '"version":-1', 1),
        lambda text: text[:-2],
    ],
    ids=["key", "key of a message", "no errors", "version", "incomplete"],
)
def test_a_state_that_would_not_read_back_stays_as_it_is(change: Callable[[str], str]) -> None:
    save_whole(a_conversation(30))
    text = serde.dumps_json(Step.objects.get(step=25).state)
    changed = change(text)
    assert changed != text
    if connection.vendor == "postgresql" and changed == text[:-2]:
        pytest.skip("PostgreSQL refuses text that is not JSON")
    write(25, changed)
    result = compact()
    assert result.refused == 1
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT base_id, state FROM {Step._meta.db_table} WHERE step = 25")
        base_id, stored = cursor.fetchone()
    assert base_id is None
    assert stored == changed or serde.dumps_json(stored) == changed
    assert Step.objects.exclude(base=None).filter(step__in=[24, 26]).count() == 2
    assert compact() == CompactionResult(checked=30, refused=1)


def test_whitespace_and_the_order_of_keys_are_no_hindrance() -> None:
    save_whole(a_conversation(30))
    expected = read_states()
    text = serde.dumps_json(Step.objects.get(step=25).state)
    messages, rest = text[1:-1].split(',"extra":', 1)
    write(25, f'{{ "extra" : {rest},\n{messages}}}')
    result = compact()
    assert result.refused == 0
    row = Step.objects.get(step=25)
    assert (row.base_id is None, row.state_bytes) == (False, len(text.encode()))
    assert read_states() == expected


def test_types_of_numbers_survive() -> None:
    values = [1, 1.0, True, 0, -0.0, 0.0, False, None, 10**40, 1e23, 5e-324, "\0", {"": []}]
    save_whole(
        VersionedState.new([a_message(n) for n in range(30)], {"value": value, "more": [value]})
        for value in values
    )
    expected = read_states()
    assert compact().rewritten == len(values)
    assert read_states() == expected
    compact(whole=True)
    assert read_states() == expected


def test_a_broken_chain_is_left_alone() -> None:
    save_whole(a_conversation(40))
    compact()
    damaged = Step.objects.get(step=40)
    damaged.state["messages"]["items"] = [[0, 10_000]]
    Step.objects.filter(pk=damaged.pk).update(state=damaged.state)
    result = compact(whole=True)
    assert result.refused == 1
    damaged.refresh_from_db()
    assert damaged.base_id is not None
    assert list(Keyframe.objects.values_list("pk", flat=True)) == [damaged.base_id]
    assert compact(whole=True) == CompactionResult(checked=40, refused=1)
    assert compact(whole=True, dry_run=True) == CompactionResult(checked=40, refused=1)


def test_only_the_given_sessions() -> None:
    for session_id in ("a", "b", "c"):
        save_whole(a_conversation(30), session_id)
    chosen = ["b", "c", "b", "missing", "bad\0"]
    assert count_steps(chosen) == 60
    assert compact(chosen).checked == 60
    assert (count_deltas("a"), count_deltas("b") > 0, count_deltas("c") > 0) == (0, True, True)
    assert compact([]) == CompactionResult()
    assert count_steps() == 90


def test_many_sessions_and_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "SESSION_PAGE_SIZE", 2)
    monkeypatch.setattr(sql, "STEP_PAGE_SIZE", 7)
    monkeypatch.setattr(run, "MAX_BATCH_BYTES", 20_000)
    for number in range(5):
        save_whole(a_conversation(20), f"session {number}")
    progress: list[CompactionResult] = []
    result = compact(on_progress=progress.append)
    assert result == progress[-1]
    assert [each.checked for each in progress] == sorted(each.checked for each in progress)
    assert max(b.rewritten - a.rewritten for a, b in pairwise(progress)) < 7
    assert len({count_deltas(f"session {number}") for number in range(5)}) == 1


def test_it_can_be_stopped_and_run_again() -> None:
    save_whole(a_window(60))
    states = read_states()

    def stop(result: CompactionResult) -> None:
        if result.checked >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compact(batch_size=8, on_progress=stop)
    assert 0 < count_deltas() < 60
    assert read_states() == states
    with pytest.raises(KeyboardInterrupt):
        compact(whole=True, batch_size=8, on_progress=stop)
    assert read_states() == states
    compact(batch_size=8)
    assert count_deltas() == 60
    assert read_states() == states
    with pytest.raises(KeyboardInterrupt):
        compact(whole=True, batch_size=8, on_progress=stop)
    compact(whole=True, batch_size=8)
    assert (count_deltas(), Keyframe.objects.count()) == (0, 0)
    assert read_states() == states


def test_pruned_to_the_last_step() -> None:
    save_whole(a_window(40))
    compact()
    prune(RetentionPolicy(keep_last=1))
    assert Keyframe.objects.filter(steps=None, next=None).count() == 0
    assert len(read_states()) == 1


def test_a_message_may_be_any_text() -> None:
    texts = ["\0", "\\u0000", '"', "日本語", "\U0001f600", "a" * 5000]
    save_whole(
        VersionedState.new([Message(role=text, content=text) for text in texts[: n + 1] * 20])
        for n in range(len(texts))
    )
    expected = read_states()
    compact()
    assert read_states() == expected


def test_a_batch_has_at_least_one_step() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        compact(batch_size=0)
