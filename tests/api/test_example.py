"""The example project serves the API, its schema and Swagger UI; the demo prints a working curl."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from tests.api.clients import ALL, SESSIONS, create_client, post
from tests.builders import save_history
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

ROOT = Path(__file__).resolve().parent.parent.parent

in_the_example = pytest.mark.urls("example_project.urls")


@in_the_example
def test_the_schema_and_its_page(client: Client) -> None:
    schema = client.get("/api/schema/?format=json").json()
    assert "/api/sessions/{session}/latest/" in schema["paths"]
    assert schema["info"]["title"] == "Checkpoints"
    page = client.get("/api/")
    assert page.status_code == 200
    script = client.get(next(each for each in addresses_in(page) if "script" in each))
    assert b'url: "/api/schema/"' in script.content


@in_the_example
def test_swagger_ui_loads_no_third_party_files(client: Client) -> None:
    files = [each for each in addresses_in(client.get("/api/")) if "script" not in each]
    assert len(files) == 4
    for each in files:
        assert finders.find(each.removeprefix("/static/")), each


def addresses_in(page: Any) -> list[str]:
    """Return the URLs that a page makes a browser request."""
    return re.findall(r'(?:src|href)="([^"]*)"', page.content.decode())


@in_the_example
def test_tenancy(settings: object, db: None) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"API_OWNER": "example_project.tenancy.owner_of"}  # type: ignore[attr-defined]
    save_history(DjangoCheckpointer(owner="ann"), "anns", [1])
    save_history(DjangoCheckpointer(owner="bob"), "bobs", [1])
    for user, sees in (
        ({"username": "ann"}, {"anns"}),
        ({"username": "carl"}, set()),
        ({"username": "staff", "is_staff": True}, {"anns", "bobs"}),
    ):
        client = create_client(*ALL, **user)
        assert {each["id"] for each in client.get(SESSIONS).json()["results"]} == sees
        assert client.get(f"{SESSIONS}bobs/").status_code == (200 if "bobs" in sees else 404)
    assert post(create_client(*ALL), f"{SESSIONS}anns/fork/", {"target": "x"}).status_code == 404


def test_tenancy_is_shown_in_under_thirty_lines() -> None:
    lines = (ROOT / "example_project" / "tenancy.py").read_text().splitlines()
    assert len(lines) < 30


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The demo, run as ``make demo`` does, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/demo.sqlite3",
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        process.terminate()


@pytest.mark.vendor("sqlite")
@pytest.mark.timeout(240)
def test_the_curl_command_of_the_demo_works(demo: subprocess.Popen[str]) -> None:
    assert demo.stdout is not None
    printed = []
    for line in demo.stdout:
        printed.append(line)
        found = re.search(r"curl -u .*", line)
        if found is not None:
            break
    else:
        raise AssertionError("".join(printed))
    command = shlex.split(found.group(0))
    answer = subprocess.run(
        [
            *command,
            "--silent",
            "--fail",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "1",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    page = json.loads(answer.stdout)
    assert len(page["checkpoints"]) == 3
    assert set(page["checkpoints"][0]) == {"url", "step", "ran_nodes"}

    base = re.match(r"http://[^/]+", command[-1])
    assert base is not None
    with urlopen(f"{base.group(0)}/api/", timeout=60) as described:
        bundle = re.search(r'src="(/static/[^"]*bundle.js)"', described.read().decode())
    assert bundle is not None
    with urlopen(base.group(0) + bundle.group(1), timeout=60) as script:
        assert script.status == 200
