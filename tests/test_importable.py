from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import weavegraph_checkpoints
from weavegraph_checkpoints import domain

ROOT = Path(__file__).parent.parent
PUBLIC_NAMES = {
    "AppScope",
    "Checkpoint",
    "CheckpointerError",
    "ConcurrencyConflict",
    "ErrorEvent",
    "ErrorScope",
    "ErrorsChannel",
    "ExtrasChannel",
    "InvalidCheckpoint",
    "InvalidPolicy",
    "InvalidQuery",
    "LimitExceeded",
    "Message",
    "MessagesChannel",
    "NodeKind",
    "NodeScope",
    "PageInfo",
    "RunnerScope",
    "SchedulerScope",
    "SerializationError",
    "SessionExists",
    "SessionNotFound",
    "SessionState",
    "StateTooLarge",
    "StepQuery",
    "StepQueryResult",
    "VersionedState",
    "WeaveError",
    "restore_session_state",
}


def run(code: str) -> str:
    """Run code in an interpreter that knows of no Django settings."""
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_resolves() -> None:
    assert set(weavegraph_checkpoints.__all__) >= PUBLIC_NAMES
    for module in (weavegraph_checkpoints, domain):
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert getattr(module, name) is not None


def test_the_package_re_exports_the_whole_domain() -> None:
    for name in domain.__all__:
        assert name in weavegraph_checkpoints.__all__
        assert getattr(weavegraph_checkpoints, name) is getattr(domain, name)


def test_the_package_knows_its_version() -> None:
    assert weavegraph_checkpoints.__version__.count(".") >= 1


@pytest.mark.parametrize(
    "module",
    [
        "weavegraph_checkpoints",
        "weavegraph_checkpoints.domain",
        "weavegraph_checkpoints.exceptions",
        "weavegraph_checkpoints.serde",
    ],
)
def test_the_inner_layers_import_no_django(module: str) -> None:
    strangers = run(
        f"import {module}, sys\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(roots & {'django', 'asgiref', 'opentelemetry', 'rest_framework', 'tqdm'}))"
    )
    assert strangers.strip() == "[]"


def test_everything_public_imports_without_settings() -> None:
    imported = run("from weavegraph_checkpoints import *\nprint(*sorted(globals()))").split()
    assert set(imported) >= PUBLIC_NAMES


def test_the_package_itself_imports_layer_0_only() -> None:
    loaded = run(
        "import weavegraph_checkpoints, sys\n"
        "print(*(name for name in sys.modules if name.startswith('weavegraph_checkpoints.')))"
    ).split()
    rooms = {name.split(".")[1] for name in loaded}
    assert rooms == {"domain", "exceptions"}


def test_checkpoints_are_made_written_and_read_without_django() -> None:
    printed = run(
        "from weavegraph_checkpoints import *\n"
        "from weavegraph_checkpoints.serde import dumps, loads\n"
        "state = VersionedState.new_with_user_message('hello')\n"
        "checkpoint = Checkpoint(\n"
        "    session_id='run', step=1, state=state, frontier=['plan'], versions_seen={}\n"
        ")\n"
        "assert loads(dumps(checkpoint)) == checkpoint\n"
        "print(restore_session_state(checkpoint).frontier[0])\n"
    )
    assert printed.strip() == "plan"
