"""``manage.py prune_checkpoints``: options, setting, output, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests.commands.processes import run_on_terminal
from tests.commands.runner import CommandResult, Terminal, run
from tests.pruning.histories import History, build_history, create_histories, get_stored_steps
from weavegraph_checkpoints import pruning
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.management import base
from weavegraph_checkpoints.management.commands import prune_checkpoints
from weavegraph_checkpoints.models import Label, Step
from weavegraph_checkpoints.pruning import PruneResult

COMMAND = "prune_checkpoints"
DAY = timedelta(days=1)


def aged(days: int, steps: int, **fields: Any) -> History:
    """Return a history that was last updated a number of days ago."""
    now = datetime.now(UTC)
    return History(
        steps={n: (now - DAY * (days + steps - 1 - n), 100) for n in range(steps)},
        updated_at=now - DAY * days,
        **fields,
    )


@pytest.fixture
def histories(db: None) -> dict[str, History]:
    """Sessions to choose from."""
    histories = {
        "fresh": aged(0, 6, owner="me"),
        "done": aged(40, 4, owner="me", finished=True),
        "old": aged(400, 3),
        "nothing": aged(400, 0),
    }
    create_histories(histories)
    return histories


def run_lines(*arguments: str) -> list[str]:
    """Run a command and return what it prints."""
    return run(*arguments).lines


def sizes() -> dict[str, int]:
    return {session_id: len(steps) for session_id, steps in get_stored_steps().items()}


@pytest.mark.usefixtures("histories")
def test_labels_narrow() -> None:
    for session_id, labels in {
        "fresh": {"env": "test", "team": "a=b"},
        "done": {"env": "test"},
        "old": {"env": "prod"},
    }.items():
        DjangoCheckpointer().set_labels(session_id, labels)
    options = ("--keep-last", "1", "--label", "env=test")
    both = run_lines(COMMAND, *options, "--label", "team=a=b", "--dry-run")
    assert both[-1] == "would prune 5 steps and 0 sessions"
    assert '(keep_last=1, labels="env=test" "team=a=b")' in both[0]
    assert run_lines(COMMAND, *options)[-1] == "pruned 8 steps and 0 sessions"
    assert sizes() == {"fresh": 1, "done": 1, "old": 3, "nothing": 0}
    gone = run_lines(COMMAND, "--delete-inactive", "0d", "--label", "env=prod")
    assert gone[-1] == "pruned 3 steps and 1 session"
    assert set(sizes()) == {"fresh", "done", "nothing"}
    assert Label.objects.count() == 3


@pytest.mark.usefixtures("histories")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--keep-last", "1", "--label", "env"), "expected key=value"),
        (("--keep-last", "1", "--label", "=test"), "a label's key"),
        (("--keep-last", "1", "--label", "env=" + "x" * 256), "a label's value"),
        (("--keep-last", "1", "--label", "a=1", "--label", "a=2"), "two values for the same key"),
        (("--label", "env=test"), "only filter sessions"),
    ],
)
def test_labels_that_are_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command(COMMAND, *arguments)
    assert sizes() == WHOLE


WHOLE = {"fresh": 6, "done": 4, "old": 3, "nothing": 0}


@pytest.mark.parametrize(
    ("arguments", "left", "summary"),
    [
        (["--keep-last=2"], {"fresh": 2, "done": 2, "old": 2}, "pruned 7 steps and 0 sessions"),
        (["--keep-last=5"], {"fresh": 5}, "pruned 1 step and 0 sessions"),
        (["--older-than=60h"], {"fresh": 3, "done": 1, "old": 1}, "pruned 8 steps and 0 sessions"),
        (["--older-than=P41DT12H"], {"done": 2, "old": 1}, "pruned 4 steps and 0 sessions"),
        (["--older-than=60w"], {}, "pruned 0 steps and 0 sessions"),
        (
            ["--keep-last=2", "--older-than=41d"],
            {"done": 2, "old": 2},
            "pruned 3 steps and 0 sessions",
        ),
        (
            ["--delete-inactive=180d"],
            {"old": None, "nothing": None},
            "pruned 3 steps and 2 sessions",
        ),
        (["--delete-inactive=180d", "--status=empty"], {"nothing": None}, None),
        (["--delete-inactive=12h", "--status=finished"], {"done": None}, None),
        (["--keep-last=1", "--owner=me"], {"fresh": 1, "done": 1}, None),
        (["--keep-last=1", "--owner="], {"old": 1}, None),
        (["--keep-last=1", "--session=old"], {"old": 1}, None),
        (["--keep-last=1", "--session=old", "--session=done"], {"old": 1, "done": 1}, None),
        (["--keep-last=1", "--status=resumable", "--batch-size=1"], {"fresh": 1, "old": 1}, None),
    ],
)
def test_each_option(
    histories: dict[str, History],
    arguments: list[str],
    left: dict[str, int | None],
    summary: str | None,
) -> None:
    dry = run_lines(COMMAND, "--dry-run", *arguments)
    assert sizes() == WHOLE
    ran = run(COMMAND, *arguments)
    assert (ran.err, ran.status) == ("", 0)
    lines = ran.lines
    assert sizes() == {name: n for name, n in (WHOLE | left).items() if n is not None}
    assert lines[:-1] == dry[:-1]
    assert lines[-1] == dry[-1].replace("would prune", "pruned")
    assert summary in (None, lines[-1])
    assert run_lines(COMMAND, *arguments)[-1] == "pruned 0 steps and 0 sessions"


def test_it_says_what_each_session_lost(histories: dict[str, History]) -> None:
    lines = run_lines(COMMAND, "--keep-last=2", "--older-than=12h", "--owner=me")
    assert lines == [
        'policy 1 of 1 (keep_last=2, older_than=12:00:00, owner="me"): 6 steps, 0 sessions, '
        "600 bytes",
        '  "fresh": 4 steps, 400 bytes',
        '  "done": 2 steps, 200 bytes',
        "pruned 6 steps and 0 sessions",
    ]


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (["a"], '(keep_last=1, session_ids="a")'),
        (["a", "b"], "(keep_last=1, session_ids=2 ids)"),
    ],
)
def test_a_policy_is_one_line(db: None, ids: list[str], shown: str) -> None:
    lines = run_lines(COMMAND, "--keep-last=1", *(f"--session={each}" for each in ids))
    assert shown in lines[0]


def test_ten_sessions_are_named(db: None) -> None:
    create_histories({f"s{n:02}": build_history(range(n + 2), size=2**20) for n in range(12)})
    lines = run_lines(COMMAND, "--keep-last=1", "--dry-run")
    assert lines[0].endswith(": 78 steps, 0 sessions, 78.0 MB")
    assert lines[1] == '  "s11": 12 steps, 12.0 MB'
    assert len(lines) == 12


def test_an_id_is_shown_as_a_json_string(db: None) -> None:
    create_histories({'"quoted"\n日本': build_history(range(2))})
    lines = run_lines(COMMAND, "--keep-last=1")
    assert lines[1].startswith('  "\\"quoted\\"\\n日本": 1 step')


HOSTILE = "\x1b[2J\x7f\x9b\x85\u202e\u2066\u2028"
ESCAPED = r"\u001b[2J\u007f\u009b\u0085\u202e\u2066\u2028"


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]], ids=["real", "dry"])
def test_control_and_bidi_characters_are_escaped(db: None, arguments: list[str]) -> None:
    create_histories({HOSTILE: build_history(range(2), owner=HOSTILE)})
    ran = run(COMMAND, "--keep-last=1", f"--session={HOSTILE}", f"--owner={HOSTILE}", *arguments)
    assert ran.lines[:2] == [
        f'policy 1 of 1 (keep_last=1, session_ids="{ESCAPED}", owner="{ESCAPED}"): '
        "1 step, 0 sessions, 10 bytes",
        f'  "{ESCAPED}": 1 step, 10 bytes',
    ]


def test_verbosity_0_prints_nothing(histories: dict[str, History]) -> None:
    assert run(COMMAND, "--keep-last=1", "--dry-run", verbosity=0) == CommandResult(0, "", "")
    assert run(COMMAND, "--keep-last=1", verbosity=0) == CommandResult(0, "", "")
    assert sizes()["fresh"] == 1


@pytest.mark.django_db(databases=["default", "other"])
def test_the_database_named(histories: dict[str, History]) -> None:
    create_histories({"other": build_history(range(4))}, using="other")
    run(COMMAND, "--keep-last=1", "--database=other")
    assert (get_stored_steps("other"), sizes()) == ({"other": {3}}, WHOLE)


# The setting


def with_retention(settings: Any, *policies: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": list(policies)}


def test_without_a_rule_it_runs_the_setting_in_order(
    histories: dict[str, History], settings: Any
) -> None:
    with_retention(
        settings,
        {"keep_last": 3, "owner": "me"},
        {"older_than": "60h"},
        {"delete_inactive": timedelta(days=180), "status": "empty"},
    )
    dry = run_lines(COMMAND, "--dry-run")
    assert dry == [
        'policy 1 of 3 (keep_last=3, owner="me"): 4 steps, 0 sessions, 400 bytes',
        '  "fresh": 3 steps, 300 bytes',
        '  "done": 1 step, 100 bytes',
        "policy 2 of 3 (older_than=2 days, 12:00:00): 8 steps, 0 sessions, 800 bytes",
        '  "fresh": 3 steps, 300 bytes',
        '  "done": 3 steps, 300 bytes',
        '  "old": 2 steps, 200 bytes',
        'policy 3 of 3 (delete_inactive=180 days, 0:00:00, status="empty"): 0 steps, 1 session, '
        "0 bytes",
        "would prune up to 12 steps and 1 session",
    ]
    assert sizes() == WHOLE
    assert run_lines(COMMAND) == [
        *dry[:3],
        "policy 2 of 3 (older_than=2 days, 12:00:00): 4 steps, 0 sessions, 400 bytes",
        '  "old": 2 steps, 200 bytes',
        '  "done": 2 steps, 200 bytes',
        *dry[7:8],
        "pruned 8 steps and 1 session",
    ]
    assert sizes() == {"fresh": 3, "done": 1, "old": 1}


def test_a_rule_on_the_command_line_goes_before_the_setting(
    histories: dict[str, History], settings: Any
) -> None:
    with_retention(settings, {"delete_inactive": "0d"})
    run(COMMAND, "--keep-last=5")
    assert sizes() == WHOLE | {"fresh": 5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "No retention policy"),
        (["--session=a"], "only filter"),
        (["--owner="], "only filter"),
        (["--status=empty", "--dry-run"], "only filter"),
        (["--older-than=a month"], "not a duration: 'a month'.*at older_than"),
        (["--delete-inactive=P1Y"], "not a duration: 'P1Y'.*at delete_inactive"),
        (["--keep-last=0"], "1 or more, not 0.*at keep_last"),
        (["--keep-last=1", "--session="], "not a session id.*at session_ids"),
        (["--keep-last=1", "--batch-size=0"], "1 or more, not 0.*at batch_size"),
        (["--keep-last=1", "--database=none"], "invalid choice: .none."),
        (["--keep-last=x"], "invalid int value"),
        (["--keep-last=1", "--status=done"], "invalid choice"),
        (["--keep-last=1", "extra"], "unrecognized arguments"),
    ],
)
def test_what_is_refused(
    histories: dict[str, History], settings: Any, arguments: list[str], message: str
) -> None:
    with_retention(settings)
    with pytest.raises(CommandError, match=message):
        call_command(COMMAND, *arguments)
    assert sizes() == WHOLE


def test_what_only_narrows_is_refused_beside_the_setting_too(
    histories: dict[str, History], settings: Any
) -> None:
    with_retention(settings, {"keep_last": 1})
    with pytest.raises(CommandError, match="only filter"):
        call_command(COMMAND, "--owner=me")
    assert sizes() == WHOLE


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"keep": 1}], r"\['RETENTION'\]\[0\]: unknown key.*at keep\)"),
        ([{"keep_last": 1}, {"older_than": "soon"}], r"\[1\]: not a duration: 'soon'"),
        ([{"owner": "me"}], "needs a rule"),
        ({"keep_last": 1}, "must be a list of dicts"),
        (["30d"], "must be a list of dicts"),
    ],
)
def test_a_malformed_setting_is_refused_before_anything_goes(
    histories: dict[str, History], settings: Any, value: Any, message: str
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"RETENTION": value}
    with pytest.raises(CommandError, match=message):
        call_command(COMMAND, skip_checks=True)
    assert sizes() == WHOLE


# Progress and hints


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five steps are a large prune."""
    monkeypatch.setattr(prune_checkpoints, "MIN_STEPS_FOR_SPACE_HINT", 5)


HINT = {"sqlite": "VACUUM", "postgresql": "autovacuum", "mysql": "OPTIMIZE TABLE"}


def test_a_large_prune_says_once_how_to_give_space_back(
    histories: dict[str, History], large: None, settings: Any
) -> None:
    with_retention(settings, {"keep_last": 3}, {"keep_last": 1})
    dry = run_lines(COMMAND, "--dry-run")
    lines = run_lines(COMMAND)
    hint = HINT[connection.vendor]
    assert sum(hint in line for line in lines) == 1
    assert hint in lines[-2]
    assert lines[-1] == "pruned 10 steps and 0 sessions"
    assert not any(hint in line for line in dry)
    assert not any(hint in line for line in run_lines(COMMAND))


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]], ids=["real", "dry"])
def test_elsewhere_than_run_on_terminal_it_writes_plain_lines(
    histories: dict[str, History], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    assert run(COMMAND, "--keep-last=4", "--dry-run").err == ""
    monkeypatch.setattr(base, "SECONDS_BETWEEN_LINES", 0)
    ran = run(COMMAND, "--keep-last=2", "--batch-size=3", *arguments)
    assert ran.err
    for line in ran.err.splitlines():
        assert re.fullmatch(r"\d+ steps( counted)? so far", line)
    assert ran.lines[-1].endswith("7 steps and 0 sessions")


def interrupted_after(reports: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a prune that SIGINT interrupts after some reports."""

    def replaced(*args: Any, on_progress: Callable[[Any], None], **options: Any) -> Any:
        left = [reports]

        def report(result: Any) -> None:
            on_progress(result)
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

        return function(*args, on_progress=report, **options)

    return replaced


def test_sigint_ends_with_a_summary(
    histories: dict[str, History], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_retention(settings, {"keep_last": 2}, {"keep_last": 1})
    monkeypatch.setattr(pruning, "prune", interrupted_after(2, pruning.prune))
    ran = run(COMMAND, "--batch-size=2")
    assert ran.status == 130
    assert ran.err == "interrupted: run the command again to continue\n"
    assert ran.lines[-1] == "pruned 4 steps and 0 sessions"
    assert sum(sizes().values()) == 13 - 4
    assert run(COMMAND, "--batch-size=2", verbosity=0) == CommandResult(130, "", "")


def test_sigint_ends_a_dry_run_with_a_summary(
    histories: dict[str, History], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "prune", interrupted_after(1, pruning.prune))
    ran = run(COMMAND, "--keep-last=1", "--dry-run")
    assert (ran.status, ran.lines[-1]) == (130, "would prune 10 steps and 0 sessions")


def test_sigint_before_the_first_batch(
    histories: dict[str, History], monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(*args: Any, **options: Any) -> PruneResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(pruning, "prune", at_once)
    ran = run(COMMAND, "--keep-last=1")
    assert (ran.status, ran.lines[-1]) == (130, "pruned 0 steps and 0 sessions")


def test_a_terminal_at_verbosity_0_stays_empty(histories: dict[str, History]) -> None:
    terminal = Terminal()
    call_command(COMMAND, "--keep-last=1", verbosity=0, stdout=terminal, stderr=terminal)
    assert terminal.getvalue() == ""


@pytest.mark.django_db(transaction=True)
def test_a_terminal_shows_a_bar_and_the_summary_last() -> None:
    create_histories({"s": build_history(range(40))})
    stdout, shown = run_on_terminal(COMMAND, "--keep-last=10", "--batch-size=7")
    assert re.search(r"30/30 \[.*steps/s", shown) or re.search(r"\d+/30 \[", shown)
    assert "\r" in shown
    assert stdout.splitlines()[-1] == "pruned 30 steps and 0 sessions"
    assert Step.objects.count() == 10
