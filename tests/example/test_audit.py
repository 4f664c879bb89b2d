"""The audit: what it finds, what it cannot read, and how its work is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from example_project.audit import distributions, nodes
from example_project.audit.graph import AUDIT, expected_last_step
from example_project.audit.runner import run
from tests.example.conftest import install, sound
from weavegraph_checkpoints import ErrorEvent, NodeKind, NodeScope, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


def audit() -> VersionedState:
    """Audit the present environment, and return the last state."""
    return list(run("audit", AUDIT, DjangoCheckpointer()))[-1].state


def errors_by_name(state: VersionedState) -> dict[str, ErrorEvent]:
    """Return each error by the name of its distribution."""
    return {event.error.details["distribution"]: event for event in state.errors.items}


@pytest.mark.django_db
class TestFindings:
    def test_of_each_alone_and_of_all_that_it_brings_in(self, three: Path) -> None:
        assert audit().extra.map == {
            "todo": [],
            "batch": None,
            "licences": {"alpha": "MIT", "beta": "MIT", "gamma": None},
            "sizes": {
                "alpha": {"bytes": 10, "files": 1},
                "beta": {"bytes": 30, "files": 1},
                "gamma": {"bytes": 20, "files": 1},
            },
            "dependencies": {"alpha": [], "beta": ["alpha", "zeta"], "gamma": []},
            "licence_mixes": {"alpha": ["MIT"], "beta": ["MIT", "unknown"], "gamma": ["unknown"]},
            "sizes_together": {"alpha": 10, "beta": 40, "gamma": 20},
            "needed_by": {"alpha": ["beta"], "beta": [], "gamma": []},
            "report": {
                "distributions": 3,
                "bytes": 60,
                "licences": {"MIT": 2, "unknown": 1},
                "errors": 1,
            },
        }

    def test_the_messages_tell_the_story(self, three: Path) -> None:
        assert [(one.role, one.content) for one in audit().messages.items] == [
            ("user", "Audit the Python distributions of this environment."),
            ("assistant", "Found 3 distributions; inspecting them in 6 batches."),
            ("tool", "New licence: MIT, of alpha."),
            ("tool", "The largest so far: alpha, 0.0 MB."),
            ("tool", "The largest so far: beta, 0.0 MB."),
            ("tool", "beta lacks zeta."),
            ("tool", "The largest so far, with dependencies: alpha, 0.0 MB."),
            ("tool", "The largest so far, with dependencies: beta, 0.0 MB."),
            ("assistant", "No batch is left: writing the final report."),
            ("assistant", "Audit finished: 3 distributions, 0.0 MB, 2 licences, 1 errors."),
        ]

    def test_copyleft_that_is_dependency_closure_is_told(self, site: Path) -> None:
        install(site, "free", sound("free", "License-Expression: GPL-3.0-only"), {"f.py": ""})
        needs = sound("user", "License-Expression: MIT", "Requires-Dist: free")
        install(site, "user", needs, {"u.py": ""})
        told = [one.content for one in audit().messages.items]
        assert "user depends on copyleft: free." in told

    def test_an_empty_environment_ends_at_once(self, site: Path) -> None:
        state = audit()
        assert state.extra.map["report"] == {
            "distributions": 0,
            "bytes": 0,
            "licences": {},
            "errors": 0,
        }


@pytest.mark.django_db
class TestErrorEvents:
    def test_a_distribution_without_a_readable_licence(self, three: Path) -> None:
        event = errors_by_name(audit())["gamma"]
        assert event.scope == NodeScope(kind="licences", step=6)
        assert event.tags == ("licence", "unreadable")
        assert event.error.message == "gamma: the metadata names no single licence"
        assert event.error.details == {"distribution": "gamma", "version": "1.0"}

    @pytest.mark.parametrize(
        ("metadata", "cause"),
        [
            (None, "no name or no version|cannot be read"),
            ("Name: broken\n", "no name or no version"),
            (b"Name: broken\nVersion: 1.0\nSummary: \xff\xfe\n", "cannot be read"),
        ],
        ids=["missing", "without version", "not UTF-8"],
    )
    def test_broken_metadata(self, three: Path, metadata: str | bytes | None, cause: str) -> None:
        install(three, "broken", metadata, {"broken.py": ""})
        state = audit()
        event = errors_by_name(state)["broken"]
        assert event.scope == NodeScope(kind="collect", step=5)
        assert event.tags == ("metadata", "invalid")
        assert event.error.message == "broken: the metadata is invalid"
        assert event.error.cause is not None
        assert any(part in event.error.cause.message for part in cause.split("|"))
        assert state.extra.map["report"]["distributions"] == 3
        assert state.extra.map["report"]["errors"] == 2

    def test_a_list_of_files_that_is_missing(self, three: Path) -> None:
        install(three, "delta", sound("delta", "License-Expression: MIT"), {})
        event = errors_by_name(audit())["delta"]
        assert event.scope == NodeScope(kind="sizes", step=6)
        assert event.error.cause is not None
        assert event.error.cause.message == "it does not list its files"

    def test_a_distribution_that_was_removed_meanwhile(self, three: Path) -> None:
        checkpoints = run("audit", AUDIT, DjangoCheckpointer())
        next(checkpoints)
        next(checkpoints)
        (three / "gamma-1.0.dist-info" / "METADATA").unlink()
        (three / "gamma-1.0.dist-info" / "RECORD").unlink()
        (three / "gamma-1.0.dist-info").rmdir()
        event = errors_by_name(list(checkpoints)[-1].state)["gamma"]
        assert event.error.cause is not None
        assert event.error.cause.message == "it is no longer installed"


class TestReading:
    @pytest.mark.parametrize(
        ("fields", "licence"),
        [
            (["License-Expression: MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
            (["Classifier: License :: OSI Approved :: Apache Software License"], "Apache-2.0"),
            (["License: BSD-3-Clause"], "BSD-3-Clause"),
            (
                ["License: BSD-3-Clause", "Classifier: License :: OSI Approved :: BSD License"],
                "BSD-3-Clause",
            ),
            (["License: MIT License\n        Copyright (c) somebody"], "MIT License"),
            (["Classifier: License :: OSI Approved :: BSD License"], None),
            (
                [
                    "Classifier: License :: OSI Approved :: MIT License",
                    "Classifier: License :: OSI Approved :: Apache Software License",
                ],
                None,
            ),
            (["License: UNKNOWN"], None),
            (["License: This software may be used by anyone for any purpose whatever."], None),
            ([], None),
        ],
    )
    def test_licences(self, site: Path, fields: list[str], licence: str | None) -> None:
        folder = install(site, "one", sound("one", *fields), {})
        assert distributions.get_licence(distributions.read_facts(folder)) == licence

    def test_requirements_under_a_condition_do_not_count(self) -> None:
        requires = ["Some_Thing>=1", "other (<2)", "third; extra == 'x'", "a.b[c]", "some-thing"]
        facts: dict[str, Any] = {"requires": requires}
        assert distributions.get_requirements(facts) == ["a-b", "other", "some-thing"]

    def test_what_is_dependency_closure_may_go_in_circles(self) -> None:
        requires = {"a": ["b"], "b": ["c", "gone"], "c": ["a"], "d": []}
        assert distributions.dependency_closure("a", requires) == ["a", "b", "c", "gone"]

    def test_compiled_files_do_not_count(self, site: Path) -> None:
        folder = install(site, "one", sound("one"), {"one.py": "12", "one.pyc": "345"})
        assert distributions.get_size(folder) == {"bytes": 2, "files": 1}

    def test_of_two_with_one_name_the_first_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sites = [tmp_path / "b", tmp_path / "a", tmp_path / "none"]
        for site in sites[:2]:
            site.mkdir()
            install(site, "One_Two", sound("One.Two"), {})
        monkeypatch.setattr(distributions, "search_path", lambda: [str(site) for site in sites])
        assert distributions.installed() == {"one-two": tmp_path / "b" / "One_Two-1.0.dist-info"}


class TestPlan:
    @pytest.mark.parametrize("number", [6, 7, 11, 12, 18, 23, 24, 40, 60, 75])
    def test_a_run_has_some_dozens_of_steps(self, number: int) -> None:
        assert 24 <= expected_last_step(number) <= 102

    @pytest.mark.parametrize("number", [0, 1, 7, 13, 25, 40])
    def test_each_distribution_comes_once_in_each_round(self, number: int) -> None:
        names = [f"d{index:02}" for index in range(number)]
        batches = nodes.plan(names)
        assert all(1 <= len(batch["names"]) <= 3 for batch in batches)
        for name in ("alone", "together"):
            planned = [one for batch in batches if batch["round"] == name for one in batch["names"]]
            assert planned == names

    @pytest.mark.django_db
    def test_the_last_step_is_the_expected_one(self, three: Path) -> None:
        last = list(run("audit", AUDIT, DjangoCheckpointer()))[-1]
        assert last.step == expected_last_step(3)
        assert last.frontier == (NodeKind.END,)
