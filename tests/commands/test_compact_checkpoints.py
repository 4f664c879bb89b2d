"""``manage.py compact_checkpoints``: options, output, interruption, processes."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.commands.processes import STUCK_AFTER_SECONDS, run_on_terminal, start
from tests.commands.runner import CommandResult, Terminal, run
from tests.compaction.histories import (
    a_conversation,
    count_deltas,
    read_states,
    save,
    save_whole,
    stored_rows,
)
from weavegraph_checkpoints import compaction
from weavegraph_checkpoints.compaction import CompactionResult
from weavegraph_checkpoints.management import base
from weavegraph_checkpoints.management.commands import compact_checkpoints
from weavegraph_checkpoints.models import Keyframe, Step

COMMAND = "compact_checkpoints"


@pytest.fixture
def histories(db: None) -> None:
    for session_id in ("a", "b"):
        save_whole(a_conversation(30), session_id)


@pytest.mark.usefixtures("histories")
def test_it_compacts_and_restores() -> None:
    states = read_states("a")
    dry = run(COMMAND, "--dry-run")
    assert count_deltas("a") == 0
    ran = run(COMMAND)
    assert (ran.status, ran.err) == (0, "")
    assert re.fullmatch(r"compacted 48 of 60 steps: \d+\.\d KB of JSON less\n", ran.out)
    assert dry.out == ran.out.replace("compacted", "would compact")
    assert (count_deltas("a"), read_states("a")) == (24, states)
    assert run(COMMAND).out == "compacted 0 of 60 steps: 0 bytes of JSON less\n"
    deep = run("check_checkpoints", "--deep")
    assert (deep.status, deep.lines[-1]) == (0, "checked 2 sessions and 60 steps: no problems")

    dry = run(COMMAND, "--whole", "--dry-run")
    restored = run(COMMAND, "--whole")
    assert dry.out == restored.out.replace("restored", "would restore")
    assert restored.out == ran.out.replace("compacted", "restored").replace("less", "more")
    assert (count_deltas("a"), Keyframe.objects.count()) == (0, 0)
    deep = run("check_checkpoints", "--deep")
    assert (deep.status, deep.lines[-1]) == (0, "checked 2 sessions and 60 steps: no problems")


@pytest.mark.usefixtures("histories")
def test_only_the_given_sessions() -> None:
    assert "compacted 24 of 30 steps" in run(COMMAND, "--session=b").out
    assert (count_deltas("a"), count_deltas("b")) == (0, 24)
    assert "compacted 24 of 60 steps" in run(COMMAND, "--session=a", "--session=b").out
    assert "compacted 0 of 0 steps" in run(COMMAND, "--session=missing").out


@pytest.mark.usefixtures("histories")
def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SECONDS_BETWEEN_LINES", 0)
    ran = run(COMMAND, "--batch-size=10")
    assert ran.err.splitlines() == [f"{count} steps so far" for count in range(10, 61, 10)]


@pytest.mark.usefixtures("histories")
def test_what_is_left_as_stored_is_counted() -> None:
    row = Step.objects.get(session="a", step=20)
    Step.objects.filter(pk=row.pk).update(state={**row.state, "more": 1})
    lines = run(COMMAND).lines
    assert lines[0].startswith("1 step left as stored: ")
    assert lines[1].startswith("compacted 47 of 60 steps: ")


@pytest.mark.usefixtures("histories")
def test_a_large_compaction_says_how_to_give_space_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_checkpoints, "MIN_STEPS_FOR_SPACE_HINT", 48)
    assert len(run(COMMAND, "--dry-run").lines) == 1
    assert "disk" in run(COMMAND).lines[0]


def test_a_batch_has_at_least_one_step(db: None) -> None:
    with pytest.raises(CommandError, match="--batch-size must be 1 or more"):
        call_command(COMMAND, "--batch-size=0")


@pytest.mark.django_db(databases=["default", "other"])
def test_the_database_named() -> None:
    save_whole(a_conversation(30))
    save_whole(a_conversation(30), using="other")
    assert "compacted 24 of 30 steps" in run(COMMAND, "--database=other").out
    assert Step.objects.using("other").exclude(base=None).count() == 24
    assert count_deltas() == 0


@pytest.mark.usefixtures("histories")
def test_verbosity_0_prints_nothing() -> None:
    terminal = Terminal()
    call_command(COMMAND, verbosity=0, stdout=terminal, stderr=terminal)
    assert terminal.getvalue() == ""
    assert count_deltas("a") == 24


def interrupted_after(reports: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a compaction that SIGINT interrupts after some reports."""

    def replaced(*args: Any, on_progress: Callable[[Any], None], **options: Any) -> Any:
        left = [reports]

        def report(result: CompactionResult) -> None:
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(signal.SIGINT)
            on_progress(result)

        return function(*args, on_progress=report, **options)

    return replaced


@pytest.mark.usefixtures("histories")
def test_sigint_ends_with_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "compact", interrupted_after(2, compaction.compact))
        ran = run(COMMAND, "--batch-size=10")
        assert ran.status == 130
        assert ran.err == "interrupted: run the command again to continue\n"
        assert ran.lines[-1].startswith("compacted 20 of 20 steps: ")
        assert run(COMMAND, "--batch-size=10", verbosity=0) == CommandResult(130, "", "")
    assert 20 <= count_deltas("a") < 48
    assert run(COMMAND).status == 0
    assert (count_deltas("a"), count_deltas("b")) == (24, 24)


@pytest.mark.django_db(transaction=True)
def test_a_terminal_shows_a_bar_and_the_summary_last() -> None:
    save_whole(a_conversation(30))
    stdout, shown = run_on_terminal(COMMAND, "--batch-size=7")
    assert re.search(r"\d+/30 \[.*", shown)
    assert "\r" in shown
    assert stdout.splitlines()[-1].startswith("compacted 24 of 30 steps: ")
    assert count_deltas() == 24


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
@pytest.mark.parametrize("whole", [False, True])
def test_stopped_at_any_moment_it_is_continued_by_another_run(name: str, whole: bool) -> None:
    arguments = ["--whole"] if whole else []
    save_whole(a_conversation(100))
    states = read_states()
    if whole:
        run(COMMAND)
    rows = stored_rows()
    process = start(COMMAND, "--batch-size=1", *arguments)
    deadline = time.monotonic() + STUCK_AFTER_SECONDS
    while stored_rows() == rows and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=STUCK_AFTER_SECONDS)
    assert read_states() == states
    assert process.returncode in (0, 130, -signal.SIGKILL)
    assert run(COMMAND, *arguments).status == 0
    assert read_states() == states
    assert count_deltas() == (0 if whole else 94)
    assert whole is not Keyframe.objects.exists()
    assert run("check_checkpoints", "--deep").status == 0


@pytest.mark.django_db(transaction=True)
def test_beside_savers_nothing_is_wrong() -> None:
    states = [*a_conversation(90)]
    save_whole(states[:60])
    processes = [start(COMMAND, "--batch-size=2") for _ in range(2)]
    step = 60
    try:
        while any(process.poll() is None for process in processes):
            if step < 90:
                save(states[step : step + 1], first=step + 1)
                step += 1
            assert run("check_checkpoints", "--deep").status == 0
    finally:
        errors = [process.communicate(timeout=STUCK_AFTER_SECONDS)[1] for process in processes]
    assert errors == ["", ""]
    assert run("check_checkpoints", "--deep").status == 0
    assert len(read_states()) == step
