"""The documentation of the REST API: its code runs, its reference matches the schema."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.authtoken.models import Token

from tests.api.clients import segment
from tests.api.test_ids import AWKWARD, PLAIN
from tests.api.test_schema import schema
from tests.docs.code_blocks import run_block, run_blocks
from tests.docs.markdown import names, page, rows
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import VersionedState
from weavegraph_checkpoints.api import exceptions
from weavegraph_checkpoints.api.parsers import MAX_BYTES_BESIDES_STATE, MAX_ESCAPE_FACTOR
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

REST, REFERENCE = page("rest"), page("rest-reference")
EVENTS = page("rest-events")
TENANCY, LANGUAGES = page("rest-tenancy"), page("rest-other-languages")
ONE_MESSAGE = VersionedState.new_with_user_message("Find it.")
OF_EVERY_CALL = {"400", "401", "403", "406", "429"}
SHOWN = "http://127.0.0.1:8000"


@pytest.mark.django_db(transaction=True)
def test_the_python_blocks_of_the_tutorial(live_server: Any) -> None:
    given = {
        "API": f"{live_server.url}/api",
        "LOGIN": "runtime:secret",
        "INSTALLED_APPS": [],
    }
    namespace = run_blocks(REST, given)
    assert Token.objects.get().user == namespace["runtime"]


@pytest.fixture
def run_of_two_steps(transactional_db: None) -> None:
    _runtime()
    for step, node in ((1, "plan"), (2, "act")):
        frontier = ["act"] if step == 1 else ["End"]
        DjangoCheckpointer().save(
            a_checkpoint("run-1", step, ran_nodes=[node], frontier=frontier, state=ONE_MESSAGE)
        )


@pytest.mark.usefixtures("run_of_two_steps")
def test_the_python_blocks_about_events(live_server: Any) -> None:
    run_blocks(EVENTS, {"API": f"{live_server.url}/api", "LOGIN": "runtime:secret"})


@pytest.mark.usefixtures("run_of_two_steps")
def test_events_with_curl(live_server: Any) -> None:
    """The page leaves out the end of each line of data."""
    (block,) = (block for block in EVENTS.blocks if block.text.startswith("$ curl"))
    command, shown = block.text.removeprefix("$ ").split("\n", 1)
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "API": f"{live_server.url}/api", "LOGIN": "runtime:secret"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed = done.stdout.replace(live_server.url, SHOWN)
    lines = printed.splitlines()
    assert len(lines) == len(shown.splitlines())
    for line, expected in zip(lines, shown.splitlines(), strict=True):
        assert line.startswith(expected.removesuffix("…}"))


@pytest.mark.django_db(transaction=True)
def test_the_session_with_curl(live_server: Any, tmp_path: Path) -> None:
    _runtime()
    (block,) = (block for block in REST.blocks if block.comment == "session")
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    script, expected = "", ""
    for part in parts:
        command, shown = _command(part)
        script += command
        expected += shown
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "API": f"{live_server.url}/api", "LOGIN": "runtime:secret"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    # The responses have no trailing newline.
    printed = done.stdout.replace(live_server.url, SHOWN)
    assert printed.replace("\n", "") == expected.replace("\n", "")


def _command(part: str) -> tuple[str, str]:
    """Return a command, continued over lines by backslashes, and its output."""
    match = re.match(r"((?:.*\\\n)*.*\n)([\s\S]*)", part)
    assert match is not None
    return match.group(1), match.group(2)


def _runtime() -> User:
    """Create the user of the tutorial."""
    user = User.objects.create_user("runtime", password="secret")
    permissions = ["view_session", "add_session", "add_step"]
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="weavegraph_checkpoints", codename__in=permissions
        )
    )
    return user


@pytest.mark.django_db
def test_the_blocks_on_tenancy() -> None:
    from example_project import tenancy

    namespace = run_blocks(TENANCY, {})
    shown, real = namespace["owner_of"].__code__, tenancy.owner_of.__code__
    assert shown.co_code == real.co_code
    setting = namespace["WEAVEGRAPH_CHECKPOINTS"]["API_OWNER"]
    assert setting == f"{tenancy.owner_of.__module__}.{tenancy.owner_of.__name__}"


def _snippet(language: str) -> str:
    (block,) = (
        block
        for block in LANGUAGES.blocks
        if block.comment == "segment" and block.language == language
    )
    return block.text


def _python(ids: list[str], folder: Path) -> list[str]:
    namespace: dict[str, Any] = {}
    for block in LANGUAGES.blocks:
        if block.language == "python":
            run_block(block, LANGUAGES, namespace)
    return [namespace["segment"](each) for each in ids]


def _javascript(ids: list[str], folder: Path) -> list[str]:
    driver = "console.log(JSON.stringify(JSON.parse(process.argv[2]).map(segment)));"
    script = folder / "segment.js"
    script.write_text(f"{_snippet('javascript')}\n{driver}\n")
    return json.loads(_printed("node", str(script), json.dumps(ids)))  # type: ignore[no-any-return]


def _rust(ids: list[str], folder: Path) -> list[str]:
    driver = 'fn main() { for id in std::env::args().skip(1) { println!("{}", segment(&id)); } }'
    script = folder / "segment.rs"
    script.write_text(f"{_snippet('rust')}\n{driver}\n")
    _printed("rustc", "--edition=2021", "-Dwarnings", "-o", str(folder / "segment"), str(script))
    return _printed(str(folder / "segment"), *ids).splitlines()


def _printed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _starts(program: str) -> bool:
    """Return whether a program is installed and runs; a toolchain manager's stub may not."""
    if shutil.which(program) is None:
        return False
    done = subprocess.run([program, "--version"], capture_output=True, timeout=60, check=False)
    return done.returncode == 0


# Only the languages installed on this machine.
TRIED: dict[str, Callable[[list[str], Path], list[str]]] = {
    "python": _python,
    **({"javascript": _javascript} if _starts("node") else {}),
    **({"rust": _rust} if _starts("rustc") else {}),
}


@pytest.mark.parametrize("language", TRIED)
def test_the_segment_by_hand(language: str, tmp_path: Path) -> None:
    ids = [*AWKWARD, *PLAIN]
    expected = [each if each in PLAIN else segment(each) for each in ids]
    assert TRIED[language](ids, tmp_path) == expected


def test_the_segments_of_the_table() -> None:
    for row in rows(REFERENCE.section("Session URLs")):
        (session_id,), (made,) = names(row[0]), names(row[1])
        assert made == (session_id if session_id in PLAIN else segment(session_id))


def _calls() -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path.removeprefix('/api/')}": operation
        for path, methods in schema()["paths"].items()
        for method, operation in methods.items()
    }


def test_the_reference_is_the_schema() -> None:
    documented = [
        heading.strip("`")
        for heading in REFERENCE.headings
        if re.match("`[A-Z]+ sessions/", heading)
    ]
    assert set(documented) == set(_calls())
    for call, operation in _calls().items():
        section = REFERENCE.section(f"`{call}`")
        parameters = {
            each["name"] for each in operation.get("parameters", []) if each["in"] == "query"
        }
        assert {names(row[0])[0] for row in rows(section)} == parameters, call
        statuses = re.search(r"^Responses: ([\d, ]+)\.$", section, re.MULTILINE)
        assert statuses is not None
        assert set(statuses.group(1).split(", ")) == set(operation["responses"]) - OF_EVERY_CALL


def test_every_error_is_documented() -> None:
    documented = {names(row[0])[0]: row[1].split(", ") for row in rows(REFERENCE.section("Errors"))}
    for each in vars(exceptions).values():
        if isinstance(each, type) and exceptions.ApiError in each.__bases__:
            assert documented[each.default_code] == [str(each.status_code)]
    shown = {
        (example["value"]["code"], status)
        for operation in _calls().values()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
        for example in answer["content"]["application/json"]["examples"].values()
    }
    for code, status in shown:
        assert status in documented[code]
    others = {"authentication_failed", "method_not_allowed"}
    assert {code for code, _status in shown} | others == set(documented)


def test_the_permissions_are_documented() -> None:
    from weavegraph_checkpoints.api import permissions

    section = REST.section("Install")
    assert "`weavegraph_checkpoints`" in section
    documented = {f"weavegraph_checkpoints.{names(row[1])[0]}" for row in rows(section)}
    assert documented == {
        permissions.VIEW,
        permissions.ADD_STEP,
        permissions.CHANGE_STEP,
        permissions.FORK,
        permissions.CHANGE_LABELS,
        permissions.DELETE,
    }


def test_the_limit_of_a_body_is_documented() -> None:
    assert (MAX_ESCAPE_FACTOR, MAX_BYTES_BESIDES_STATE) == (3, 1024 * 1024)
    assert "the body exceeds three times that plus 1 MiB" in REFERENCE.section("Errors")


def test_the_requests_of_the_sketch_are_calls() -> None:
    described = {re.sub(r"\{\w+\}", "[^/]+", call.replace(" ", " /api/")) for call in _calls()}
    requests = [block.text for block in LANGUAGES.blocks if block.language == "http"]
    assert len(requests) == 3
    for request in requests:
        line = request.split("\n", 1)[0]
        address = re.match(r"(\w+ [^? ]+)", line)
        assert address is not None
        assert any(re.fullmatch(each, address.group(1)) for each in described), line
