"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import setup_databases, teardown_databases
from hypothesis import HealthCheck, settings

from tests import partitioning
from tests.scratch import migrate, scratch_connection, scratch_database
from weavegraph_checkpoints import conf
from weavegraph_checkpoints.backends.chains import memory
from weavegraph_checkpoints.serde.deltas import planning

settings.register_profile(
    "default",
    # The rules are the same on each database, and SQLite is the fastest.
    max_examples=50 if connection.vendor == "sqlite" else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# These packages are optional: do not collect the tests that need them if they are not installed.
_OPTIONAL = {
    "api": "rest_framework",
    "replica/test_rest.py": "rest_framework",
    "telemetry": "opentelemetry",
}
collect_ignore = [path for path, package in _OPTIONAL.items() if not find_spec(package)]
# Code that uses no database is tested only once, with SQLite.
if connection.vendor != "sqlite":
    collect_ignore += ["domain", "serde", "test_importable.py", "test_layers.py"]

# These tests partition tables themselves, and those need partitioned tables.
collect_ignore.append("schema/test_partitioning.py" if partitioning.is_wanted() else "partitioned")


# A shell without job control starts background processes with SIGINT ignored, and processes that
# tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "vendor(*names): run the test only on the databases of these vendors"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of other databases."""
    deselected = [item for item in items if not _runs_on(item, connection.vendor)]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]


def _runs_on(item: pytest.Item, vendor: str) -> bool:
    return all(vendor in marker.args for marker in item.iter_markers("vendor"))


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None,
    django_db_blocker: Any,
    django_db_modify_db_settings: None,
    django_db_keepdb: bool,
) -> Iterator[None]:
    """Create both databases always: some tests use them without the mark ``django_db``."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, keepdb=django_db_keepdb)
        if partitioning.is_wanted():
            for alias in ("default", "other"):
                partitioning.partition(connections[alias])
    yield
    if not django_db_keepdb:
        with django_db_blocker.unblock():
            teardown_databases(made, verbosity=0)


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Run a test outside transactions, on every alias; delete afterwards what it commits."""
    with django_db_blocker.unblock():
        yield
        from django.contrib.auth.models import Group

        from weavegraph_checkpoints.models import Keyframe, Session, Step

        for alias in ("default", "other"):
            connection = connections[alias]
            connection.close()
            connection.set_autocommit(True)
            for model in (Step, Keyframe, Session, Group):
                model.objects.using(alias).all().delete()


@pytest.fixture
def whole_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store states whole, whatever WEAVEGRAPH_TEST_CHANGES_FROM_BYTES says."""
    monkeypatch.setattr(conf, "DEFAULT_CHANGES_FROM_BYTES", None)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Store all states as changes, with many keyframes."""
    monkeypatch.setattr(conf, "DEFAULT_CHANGES_FROM_BYTES", 0)
    monkeypatch.setattr(planning, "SMALL_DELTA_BYTES", 300)
    monkeypatch.setattr(planning, "FREE_LINKS", planning.MAX_LINKS)
    monkeypatch.setattr(planning, "MAX_IDLE_ROOTS", 2**31)
    memory.clear()
    yield
    memory.clear()


@pytest.fixture(scope="session")
def scratch_server(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), scratch_database("scratch"):
        yield


@pytest.fixture
def empty_scratch(scratch_server: None, django_db_blocker: Any) -> Iterator[BaseDatabaseWrapper]:
    """An empty scratch database, under the alias ``scratch``."""
    with django_db_blocker.unblock(), scratch_connection("scratch") as scratch:
        yield scratch


@pytest.fixture
def scratch(empty_scratch: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """A scratch database with the app migrated, under the alias ``scratch``."""
    migrate(empty_scratch)
    return empty_scratch
