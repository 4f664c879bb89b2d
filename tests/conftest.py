"""What every test shares."""

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

from tests.scratch import migrate, scratch_connection, scratch_database

settings.register_profile(
    "default",
    # The rules are the same on each database; the servers are slower to ask.
    max_examples=50 if connection.vendor == "sqlite" else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


# The API is optional: without its packages there is nothing to collect here.
collect_ignore = [] if find_spec("rest_framework") else ["api"]
# What knows no database is tested once, beside the database that every machine has.
if connection.vendor != "sqlite":
    collect_ignore += ["domain", "serde", "test_importable.py", "test_layers.py"]


# A shell without job control starts its background processes with SIGINT ignored, and so
# would be the processes of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "vendor(*names): collect the test on the databases of these vendors alone"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is not about the database under test."""
    elsewhere = [item for item in items if not _is_about(item, connection.vendor)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


def _is_about(item: pytest.Item, vendor: str) -> bool:
    return all(vendor in marker.args for marker in item.iter_markers("vendor"))


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None,
    django_db_blocker: Any,
    django_db_modify_db_settings: None,
    django_db_keepdb: bool,
) -> Iterator[None]:
    """Both databases, whichever tests run: some use them without the mark ``django_db``."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, keepdb=django_db_keepdb)
    yield
    if not django_db_keepdb:
        with django_db_blocker.unblock():
            teardown_databases(made, verbosity=0)


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Outside any transaction, on every alias; what a test commits is removed."""
    with django_db_blocker.unblock():
        yield
        from django.contrib.auth.models import Group

        from weavegraph_checkpoints.models import Session, Step

        for alias in ("default", "other"):
            connection = connections[alias]
            connection.close()
            connection.set_autocommit(True)
            for model in (Step, Session, Group):
                model.objects.using(alias).all().delete()


@pytest.fixture(scope="session")
def scratch_server(django_test_environment: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), scratch_database("scratch"):
        yield


@pytest.fixture
def empty_scratch(scratch_server: None, django_db_blocker: Any) -> Iterator[BaseDatabaseWrapper]:
    """An empty database of its own, under the alias ``scratch``."""
    with django_db_blocker.unblock(), scratch_connection("scratch") as scratch:
        yield scratch


@pytest.fixture
def scratch(empty_scratch: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """A database of its own, under the alias ``scratch``, with the app migrated."""
    migrate(empty_scratch)
    return empty_scratch
