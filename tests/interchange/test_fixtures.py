"""``dumpdata --format=jsonl`` and ``loaddata`` move histories between databases, exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.forms.models import model_to_dict

from example_project.database_url import parse_database_url
from tests.assertions import assert_same
from tests.builders import everything_stored, save_history, wrong_snapshots
from tests.commands.runner import run
from tests.databases import get_server_url
from tests.interchange.crate_databases import (
    NO_RECORDED_RUNS,
    REAL_FILE,
    create_crate_file,
    iter_recorded_checkpoints,
)
from tests.interchange.stored_histories import (
    assert_stored,
    get_timestamps,
    group_by_session,
    load_histories,
)
from tests.long_histories import save_long_history
from tests.scratch import migrate
from tests.strategies import a_full_checkpoint
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.fields import TimestampField
from weavegraph_checkpoints.models import Keyframe, Session, Step

pytestmark = pytest.mark.usefixtures("tables")

APP = "weavegraph_checkpoints"
URLS = {
    "sqlite": "sqlite:///moved.sqlite3",
    "postgresql": get_server_url("postgresql"),
    "mysql": get_server_url("mysql"),
}
ROUTE = ("sqlite", "postgresql", "mysql", "sqlite")


@contextmanager
def another_database(vendor: str, folder: Path) -> Iterator[str]:
    """Make a migrated database on any vendor, and drop it at the end."""
    settings = parse_database_url(URLS[vendor], base_dir=folder)
    alias = f"moved_{uuid4().hex}"
    name = str(folder / alias) if vendor == "sqlite" else f"test_weavegraph_{alias}"
    test = {**connections["default"].settings_dict["TEST"], "NAME": name, "CHARSET": None}
    settings |= {"NAME": name, "TEST": test | ({"CHARSET": "utf8mb4"} if vendor == "mysql" else {})}
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: settings})[
        alias
    ]
    try:
        connections[alias].creation._create_test_db(verbosity=0, autoclobber=True)
        connections[alias].close()
        migrate(connections[alias])
        yield alias
    finally:
        connections[alias].close()
        connections[alias].creation._destroy_test_db(name, verbosity=0)
        del connections[alias]
        del connections.settings[alias]


def dump(alias: str, path: Path, *args: str) -> Path:
    call_command(
        "dumpdata", APP, *args, format="jsonl", database=alias, output=str(path), verbosity=0
    )
    return path


def load(alias: str, path: Path) -> None:
    call_command("loaddata", str(path), database=alias, verbosity=0)


def build_awkward_state() -> VersionedState:
    nested: Any = "deepest"
    for _ in range(60):
        nested = [nested]
    return VersionedState.new(
        extra={
            "floats": [1e23, -0.0, 5e-324, 1.7976931348623157e308, 0.1, 1.0],
            "integers": [2**64 - 1, -(2**63), 10**4298, 1],
            "texts": ["\0", "a\0b", "\u2028\u2029\x85\x1e\r\n", "日本", "👩‍👩‍👧", ""],
            "nested": nested,
            "": {"": None},
        }
    )


def store_all_kinds() -> None:
    """Store the crate's database, and sessions with everything that it does not have."""
    run("import_weavegraph", str(REAL_FILE), "--owner", "crate")
    checkpointer = DjangoCheckpointer(owner="ada ✓")
    checkpointer.save(a_full_checkpoint(session_id="full"))
    save_history(checkpointer, "awkward", [0, 3], state=build_awkward_state(), concurrency_limit=9)
    checkpointer.set_labels("awkward", {"customer": "\u2028👩‍👩‍👧\t'", "empty": ""})
    checkpointer.set_labels("full", {"customer": "4711", "env": "prod"})
    save_history(checkpointer, "pruned", range(5))
    Step.objects.filter(session="pruned", step__lt=3).delete()
    checkpointer.fork_session("full", "fork/of full")
    DjangoCheckpointer().fork_session("late", "fork")
    Session.objects.create(id="empty", owner="x" * 255)
    Step.objects.filter(session="full").update(updated_channels=None, state_bytes=None)


def assert_moves_unchanged(path: Path, first: str, folder: Path) -> None:
    """Move histories along the route; omit servers without a URL."""
    before, expected = everything_stored(first), load_histories(first)
    here = first
    with ExitStack() as databases:
        for vendor in ROUTE:
            if URLS[vendor]:
                alias = databases.enter_context(another_database(vendor, folder))
                load(alias, dump(here, path))
                assert_same(everything_stored(alias), before)
                assert_stored(expected, alias)
                assert wrong_snapshots(alias) == []
                here = alias


def test_histories_move_between_all_databases(tmp_path: Path) -> None:
    store_all_kinds()
    assert_moves_unchanged(tmp_path / "dump.jsonl", "default", tmp_path)


def test_the_last_step_counts_the_bytes_that_are_stored(tmp_path: Path) -> None:
    """The crate writes 1e+308 where Django's loading writes 1e308."""
    store_all_kinds()
    path = dump("default", tmp_path / "dump.jsonl")
    load("other", path)
    times = get_timestamps("other")
    ran = run("check_checkpoints", "--deep", "--repair", "--database", "other")
    assert ran.status == 0
    found = {(line.split()[0], line.split()[2]) for line in ran.lines[:-1]}
    assert found == {('"edges"', "wrong-counts:"), ('"full"', "missing-counts:")}
    again = run("check_checkpoints", "--deep", "--database", "other")
    assert again.out == "checked 28 sessions and 49 steps: no problems\n"
    assert get_timestamps("other") == times


EVERY = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 3
RECORDED = group_by_session(iter_recorded_checkpoints()) if connection.vendor == "sqlite" else {}


@pytest.mark.vendor("sqlite")
@pytest.mark.skipif(not RECORDED, reason=NO_RECORDED_RUNS)
@pytest.mark.timeout(900)
def test_the_recorded_runs_move_between_all_databases(tmp_path: Path) -> None:
    chosen = {key: RECORDED[key] for key in list(RECORDED)[::EVERY]}
    steps = [step for history in chosen.values() for step in history]
    run("import_weavegraph", str(create_crate_file(tmp_path / "crate.sqlite3", steps)))
    assert_stored(chosen)
    assert_moves_unchanged(tmp_path / "dump.jsonl", "default", tmp_path)


@pytest.mark.usefixtures("changes")
def test_steps_and_keyframes_are_dumped_before_their_sessions(tmp_path: Path) -> None:
    save_history(DjangoCheckpointer(), "s", [1, 2])
    path = dump("default", tmp_path / "dump.jsonl")
    models = [json.loads(line)["model"] for line in path.read_text().splitlines()]
    assert models[:2] == [f"{APP}.step", f"{APP}.step"]
    assert list(dict.fromkeys(models)) == [
        f"{APP}.{name}" for name in ("step", "keyframe", "session")
    ]


@pytest.mark.usefixtures("changes")
@pytest.mark.parametrize("options", [[], ["--natural-primary", "--natural-foreign"]])
def test_long_histories_move_between_all_databases(tmp_path: Path, options: list[str]) -> None:
    history = save_long_history("a")
    DjangoCheckpointer().fork_session("a", "fork")
    before = get_stored_changes("default")
    here = "default"
    with ExitStack() as databases:
        for vendor in ROUTE:
            if URLS[vendor]:
                alias = databases.enter_context(another_database(vendor, tmp_path))
                load(alias, dump(here, tmp_path / "dump.jsonl", *options))
                assert get_stored_changes(alias) == before
                memory.clear()
                assert run("check_checkpoints", "--deep", "--database", alias).status == 0
                moved = DjangoCheckpointer(alias)
                assert [moved.load("a", each.step) for each in history] == history
                here = alias


def get_stored_changes(using: str) -> tuple[str, str]:
    """Return all keyframes, and all steps without their primary keys."""
    steps = Step.objects.using(using).order_by("session", "step")
    columns = ("session", "step", "base", "state", "state_bytes")
    keyframes = Keyframe.objects.using(using).order_by("pk")
    return repr(list(keyframes.values_list())), repr(list(steps.values_list(*columns)))


def test_loading_again_changes_nothing(tmp_path: Path) -> None:
    store_all_kinds()
    before = everything_stored()
    path = dump("default", tmp_path / "dump.jsonl")
    load("default", path)
    assert everything_stored() == before


def test_without_keys_a_dump_joins_what_is_there(tmp_path: Path) -> None:
    history = save_history(DjangoCheckpointer(), "a", [1, 2])
    path = dump("default", tmp_path / "dump.jsonl", "--natural-primary")
    other = save_history(DjangoCheckpointer("other"), "b", [1, 2, 3])
    for _ in range(2):
        load("other", path)
        assert_stored(group_by_session([*history, *other]), "other")
    assert wrong_snapshots("other") == []


def test_times_are_dumped_to_the_microsecond() -> None:
    (checkpoint,) = save_history(DjangoCheckpointer(), "s", [1])
    step = Step.objects.get()
    text = TimestampField.value_to_string(Step._meta.get_field("created_at"), step)  # type: ignore[arg-type]
    assert text == "2026-01-02T03:04:05.678901+00:00"
    assert model_to_dict(step)["created_at"] == text
    assert step.created_at == checkpoint.created_at
    assert model_to_dict(Step(created_at=None))["created_at"] is None
