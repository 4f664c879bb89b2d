"""Without OpenTelemetry nothing is imported, wrapped or different."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# As if the package were not installed, wherever this runs.
BLOCKED = "import sys; sys.modules['opentelemetry'] = None\n"
SET_UP = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["weavegraph_checkpoints"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()
"""


def run(code: str) -> str:
    """Run code in an interpreter of its own, without OpenTelemetry."""
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + SET_UP + code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_is_imported() -> None:
    loaded = run(
        "from weavegraph_checkpoints import checkpointer, compaction, health, interchange\n"
        "from weavegraph_checkpoints import pruning\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.')])"
    )
    assert loaded == "[]"


def test_nothing_is_wrapped() -> None:
    wrapped = run(
        "import inspect\n"
        "from weavegraph_checkpoints import backends, interchange, telemetry\n"
        "from weavegraph_checkpoints.checkpointer import DjangoCheckpointer\n"
        "from weavegraph_checkpoints.compaction import compact\n"
        "from weavegraph_checkpoints.health import reporting, stats\n"
        "from weavegraph_checkpoints.pruning import prune\n"
        "assert not telemetry.is_installed\n"
        "calls = dict(inspect.getmembers(DjangoCheckpointer, inspect.isfunction))\n"
        "calls |= {'prune': prune, 'compact': compact, 'report': reporting.report,\n"
        "          'collect': stats.collect, 'backend': backends.get_backend,\n"
        "          'import': interchange.import_history, 'export': interchange.export_history}\n"
        "assert len(calls) > 20\n"
        "print([name for name, call in calls.items() if hasattr(call, '__wrapped__')])"
    )
    assert wrapped == "[]"


def test_every_call_works() -> None:
    done = run(
        "from django.core.management import call_command\n"
        "from weavegraph_checkpoints import Checkpoint, VersionedState, retries\n"
        "from weavegraph_checkpoints.checkpointer import DjangoCheckpointer\n"
        "from weavegraph_checkpoints.domain.retention import RetentionPolicy\n"
        "from weavegraph_checkpoints.health import verify\n"
        "from weavegraph_checkpoints.pruning import prune\n"
        "from django.db import OperationalError, connection\n"
        "call_command('migrate', verbosity=0)\n"
        "it = DjangoCheckpointer()\n"
        "for step in range(3):\n"
        "    it.save(Checkpoint(session_id='s', step=step, state=VersionedState(),\n"
        "                       frontier=[], versions_seen={}))\n"
        "assert it.load_latest('s').step == it.fork_session('s', 'f').step == 2\n"
        "assert it.query_steps('s').page_info.total_count == 3\n"
        "assert list(verify()) == []\n"
        "assert prune(RetentionPolicy(keep_last=1)).steps == 4\n"
        "assert it.delete_session('s')\n"
        "attempts = []\n"
        "def fail_once():\n"
        "    attempts.append(1)\n"
        "    if len(attempts) == 1:\n"
        "        raise OperationalError(1213, 'deadlock')\n"
        "retries.run(connection, fail_once)\n"
        "print(len(attempts))"
    )
    assert done == "2"
