"""What an import adds, replaces, keeps and rejects."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError
from django.test import override_settings

from tests.builders import a_history, everything_stored, save_history, wrong_snapshots
from tests.commands.runner import Terminal, run
from tests.interchange.crate_databases import (
    create_crate_file,
    get_file_timestamps,
    open_file,
    save_as_crate,
)
from tests.interchange.stored_histories import (
    assert_stored,
    get_timestamps,
    group_by_session,
    load_histories,
    load_history,
)
from weavegraph_checkpoints import Checkpoint, NodeKind, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.exceptions import InterchangeError
from weavegraph_checkpoints.interchange import comparison, import_history, open_source, transfer
from weavegraph_checkpoints.models import Session, Step

pytestmark = pytest.mark.usefixtures("tables")


def build_two_sessions() -> list[Checkpoint]:
    return [*a_history("one", range(1, 6)), *a_history("two", range(3), concurrency_limit=7)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return create_crate_file(tmp_path / "crate.sqlite3", build_two_sessions())


def changed(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, state=VersionedState.new(extra={"changed": 1.0}))


def test_sessions_come_in_whole(source: Path) -> None:
    ran = run("import_weavegraph", str(source))
    assert ran.out.startswith("imported 8 steps into 2 sessions (2 new): ")
    assert_stored(group_by_session(build_two_sessions()))
    assert wrong_snapshots() == []
    assert get_timestamps() == get_file_timestamps(source)
    assert set(Session.objects.values_list("owner", "status")) == {("", "resumable")}


def test_only_the_sessions_named(source: Path) -> None:
    run("import_weavegraph", str(source), "--session", "two", "--session", "two")
    assert list(load_histories()) == ["two"]


@pytest.mark.parametrize("named", ["three", "ONE", "one ", "x" * 300, "\ud800"])
def test_a_session_named_that_is_not_there(source: Path, named: str) -> None:
    with pytest.raises(CommandError, match="has no session"):
        run("import_weavegraph", str(source), "--session", "one", "--session", named)
    assert everything_stored() == ([], [], [])


def test_the_owner_of_new_sessions(source: Path) -> None:
    run("import_weavegraph", str(source), "--owner", "ada")
    assert set(Session.objects.values_list("owner", flat=True)) == {"ada"}
    before = everything_stored()
    run("import_weavegraph", str(source))
    run("import_weavegraph", str(source), "--owner", "ada")
    assert everything_stored() == before
    for policy in ("fail", "skip", "replace"):
        with pytest.raises(CommandError, match="session 'one' belongs to another owner"):
            run("import_weavegraph", str(source), "--owner", "bob", "--on-conflict", policy)
    assert everything_stored() == before


def test_an_owner_that_cannot_be_one(source: Path) -> None:
    with pytest.raises(CommandError, match="not an owner"):
        run("import_weavegraph", str(source), "--owner", "x" * 256)


def test_missing_steps_are_added(source: Path) -> None:
    checkpointer = DjangoCheckpointer(owner="ada")
    for checkpoint in build_two_sessions()[1:4:2]:
        checkpointer.save(checkpoint)
    ran = run("import_weavegraph", str(source))
    assert "imported 6 steps into 2 sessions (1 new)" in ran.out
    assert "2 unchanged" in ran.out
    assert_stored(group_by_session(build_two_sessions()))
    assert Session.objects.get(pk="one").owner == "ada"
    assert get_timestamps()["one"] == get_file_timestamps(source)["one"]


def test_a_session_that_has_gone_on_keeps_its_newest_step_and_its_times(source: Path) -> None:
    save_history(DjangoCheckpointer(), "one", [3, 9])
    before = get_timestamps()["one"]
    run("import_weavegraph", str(source))
    assert [each.step for each in load_history("one")] == [1, 2, 3, 4, 5, 9]
    assert get_timestamps()["one"] == before
    assert Session.objects.get(pk="one").last_step == 9
    assert wrong_snapshots() == []


def test_a_conflict_ends_the_import_before_anything_of_its_session(source: Path) -> None:
    mine = changed(build_two_sessions()[2])
    DjangoCheckpointer().save(mine)
    before = everything_stored()
    with pytest.raises(CommandError, match=r"session 'one', step 3: .*\(state differ\)"):
        run("import_weavegraph", str(source))
    assert everything_stored() == before


def test_what_comes_before_a_conflict_has_come_in(source: Path) -> None:
    DjangoCheckpointer().save(changed(build_two_sessions()[6]))
    with pytest.raises(CommandError, match="session 'two', step 1"):
        run("import_weavegraph", str(source))
    assert len(load_history("one")) == 5
    assert [each.step for each in load_history("two")] == [1]


def test_skip_keeps_the_stored_step_and_adds_the_missing(source: Path) -> None:
    mine = changed(build_two_sessions()[4])
    DjangoCheckpointer().save(mine)
    updated_at = get_timestamps()["one"][1]
    ran = run("import_weavegraph", str(source), "--on-conflict", "skip")
    assert "imported 7 steps" in ran.out
    assert "0 replaced, 1 kept, 0 unchanged" in ran.out
    assert load_history("one")[-1] == mine
    assert get_timestamps()["one"][1] == updated_at
    before = everything_stored()
    run("import_weavegraph", str(source), "--on-conflict", "skip")
    assert everything_stored() == before


def test_replace_takes_the_step_of_the_source(source: Path) -> None:
    DjangoCheckpointer().save(changed(build_two_sessions()[4]))
    ran = run("import_weavegraph", str(source), "--on-conflict", "replace")
    assert "imported 7 steps" in ran.out
    assert "1 replaced, 0 kept" in ran.out
    assert_stored(group_by_session(build_two_sessions()))
    assert get_timestamps()["one"] == get_file_timestamps(source)["one"]
    assert wrong_snapshots() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("frontier", [NodeKind.END]),
        ("versions_seen", {"Custom:plan": {"messages": 2}}),
        ("ran_nodes", []),
        ("skipped_nodes", ["other"]),
        ("updated_channels", ["extra"]),
        ("created_at", build_two_sessions()[0].created_at.replace(microsecond=678902)),
    ],
)
def test_every_column_may_differ(source: Path, field: str, value: Any) -> None:
    mine = dataclasses.replace(build_two_sessions()[0], **{field: value})
    DjangoCheckpointer().save(mine)
    with pytest.raises(CommandError, match=rf"step 1: .*\({field} differ\)"):
        run("import_weavegraph", str(source))


@pytest.mark.parametrize("one", [1, 1.0, True, "1"])
@pytest.mark.parametrize("other", [1, 1.0, True, "1"])
def test_values_are_compared_with_their_type(tmp_path: Path, one: Any, other: Any) -> None:
    def saved(value: Any) -> Checkpoint:
        return a_history("s", [1], state=VersionedState.new(extra={"value": value}))[0]

    path = create_crate_file(tmp_path / "crate.sqlite3", [saved(one)])
    DjangoCheckpointer().save(saved(other))
    ran = run("import_weavegraph", str(path), "--on-conflict", "skip")
    assert ("1 kept" in ran.out) == (type(one) is not type(other))


def test_the_order_of_keys_and_spaces_are_no_difference(source: Path) -> None:
    run("import_weavegraph", str(source))
    with open_file(source) as connection:
        connection.execute(
            "UPDATE steps SET state_json = json_object('errors', json_extract(state_json,"
            " '$.errors'), 'extra', json_extract(state_json, '$.extra'), 'messages',"
            " json_extract(state_json, '$.messages')), versions_seen_json ="
            " ' ' || versions_seen_json, updated_channels_json = '[ \"messages\"]'"
        )
    assert "8 unchanged" in run("import_weavegraph", str(source)).out


def test_a_state_that_is_the_same_to_the_letter_is_not_parsed_to_compare_it(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_file(source) as connection:
        connection.execute(
            "UPDATE steps SET state_json = replace(state_json, '\"errors\":',"
            ' \'"ignored":1e400,"errors":\')'
        )
    run("import_weavegraph", str(source))

    canonical = comparison._normalize

    def of_small_documents(text: str) -> Any:
        assert "ignored" not in text
        return canonical(text)

    monkeypatch.setattr(comparison, "_normalize", of_small_documents)
    assert "8 unchanged" in run("import_weavegraph", str(source)).out


@pytest.mark.parametrize("policy", ["fail", "skip", "replace"])
def test_a_dry_run_writes_nothing_and_counts_exactly(source: Path, policy: str) -> None:
    save_history(DjangoCheckpointer(), "one", [1, 3])
    if policy != "fail":
        DjangoCheckpointer().save(changed(build_two_sessions()[1]))
    before = everything_stored()
    dry = run("import_weavegraph", str(source), "--dry-run", "--on-conflict", policy)
    assert everything_stored() == before
    real = run("import_weavegraph", str(source), "--on-conflict", policy)
    assert dry.out == real.out.replace("imported", "would import")


def test_a_dry_run_meets_the_same_conflict(source: Path) -> None:
    DjangoCheckpointer().save(changed(build_two_sessions()[6]))
    with pytest.raises(CommandError, match="session 'two', step 1"):
        run("import_weavegraph", str(source), "--dry-run")
    assert [each.step for each in load_history("two")] == [1]


def test_a_long_session_is_looked_through_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STEPS_BATCH_SIZE", 10)
    monkeypatch.setattr("weavegraph_checkpoints.interchange.sources.base.STEPS_PAGE_SIZE", 4)
    steps = a_history("long", range(50))
    path = create_crate_file(tmp_path / "crate.sqlite3", [*a_history("a", [1]), *steps])
    DjangoCheckpointer().save(changed(steps[0]))
    with pytest.raises(CommandError, match="session 'long', step 0"):
        run("import_weavegraph", str(path))
    assert len(load_history("long")) == 1
    with open_file(path) as connection:
        connection.execute("UPDATE steps SET state_json = '{' WHERE step = 0")
    for dry in ([], ["--dry-run"]):
        ran = run("import_weavegraph", str(path), "--skip-invalid", *dry)
        assert "left out: session 'long', step 0" in ran.err
        assert len(load_history("long")) == 1
    with open_file(path) as connection:
        save_as_crate(connection, changed(steps[0]))
    dry = run("import_weavegraph", str(path), "--dry-run").out
    assert dry == run("import_weavegraph", str(path)).out.replace("imported", "would import")
    assert_stored(group_by_session([*a_history("a", [1]), changed(steps[0]), *steps[1:]]))
    assert get_timestamps()["long"] == get_file_timestamps(path)["long"]
    assert wrong_snapshots() == []


def test_a_session_without_steps(tmp_path: Path) -> None:
    path = create_crate_file(tmp_path / "crate.sqlite3")
    with open_file(path) as connection:
        connection.execute("INSERT INTO sessions (id, concurrency_limit) VALUES ('new', 3)")
    assert "imported 0 steps into 1 session (1 new)" in run("import_weavegraph", str(path)).out
    session = Session.objects.get()
    assert (session.concurrency_limit, session.status, session.revision) == (3, "empty", 0)
    assert get_timestamps()["new"] == get_file_timestamps(path)["new"]
    assert "(0 new)" in run("import_weavegraph", str(path)).out


def test_a_snapshot_whose_steps_are_gone_comes_in_as_its_step(source: Path) -> None:
    with open_file(source) as connection:
        connection.execute("DELETE FROM steps WHERE session_id = 'one'")
    run("import_weavegraph", str(source))
    (only,) = load_history("one")
    assert (only.step, only.state) == (5, build_two_sessions()[4].state)
    assert (only.ran_nodes, only.created_at) == ((), get_file_timestamps(source)["one"][1])


def test_the_limit_of_a_stored_session_is_kept(source: Path) -> None:
    save_history(DjangoCheckpointer(), "two", [0], concurrency_limit=2)
    run("import_weavegraph", str(source))
    assert Session.objects.get(pk="two").concurrency_limit == 2


def test_channels_that_are_null_stay_null(source: Path) -> None:
    with open_file(source) as connection:
        connection.execute("UPDATE steps SET updated_channels_json = NULL WHERE step = 1")
    run("import_weavegraph", str(source))
    assert Step.objects.filter(updated_channels__isnull=True).count() == 2


def test_another_database(source: Path) -> None:
    run("import_weavegraph", str(source), "--database", "other")
    assert_stored(group_by_session(build_two_sessions()), "other")
    assert everything_stored() == ([], [], [])


@override_settings(WEAVEGRAPH_CHECKPOINTS={"MAX_STATE_BYTES": 130})
def test_a_state_beyond_the_limit_is_refused(source: Path) -> None:
    with open_file(source) as connection:
        save_as_crate(
            connection, a_history("big", [2], state=VersionedState.new(extra={"x": "y" * 99}))[0]
        )
    with pytest.raises(CommandError, match=r"session 'big', step 2: .*MAX_STATE_BYTES"):
        run("import_weavegraph", str(source), "--session", "big")


def test_a_column_beyond_its_limit_is_refused(source: Path) -> None:
    nodes = [f"n{number}" for number in range(257)]
    with open_file(source) as connection:
        for checkpoint in a_history("big", [1, 2], frontier=nodes):
            save_as_crate(connection, checkpoint)
    with pytest.raises(CommandError, match=r"session 'big', step 2: frontier has 257 names"):
        run("import_weavegraph", str(source), "--session", "big")
    ran = run("import_weavegraph", str(source), "--session", "big", "--skip-invalid")
    assert "$.frontier" in ran.err
    assert everything_stored() == ([], [], [])


def test_an_unknown_policy_is_refused(source: Path) -> None:
    with open_source(str(source)) as opened_source, pytest.raises(InterchangeError, match="one of"):
        import_history(opened_source, on_conflict="merge")


def test_verbosity_and_terminals(source: Path) -> None:
    assert run("import_weavegraph", str(source), "--dry-run", verbosity=0).out == ""
    terminal = Terminal()
    run("import_weavegraph", str(source), stderr=terminal)
    assert "/8 [" in terminal.getvalue()


def test_an_unknown_database_is_named(source: Path) -> None:
    for command in ("import_weavegraph", "export_weavegraph"):
        with pytest.raises(CommandError, match="invalid choice: 'nowhere'"):
            run(command, str(source), "--database", "nowhere")
