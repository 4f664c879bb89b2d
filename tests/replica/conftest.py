from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command

from tests.replica.documented import PRIMARY, REPLICA
from tests.servers import PostgresReplica, PostgresServer, temporary_server
from tests.service.statements import captured
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

DOCUMENTED = "tests.replica.documented"
TABLES = "weavegraph_checkpoints_"

Asked = Callable[[Callable[[], Any]], set[str]]
Paused = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="package")
def primary(django_test_environment: None, django_db_blocker: Any) -> Iterator[PostgresServer]:
    """A server with the tables of all apps, which need not outlive a crash."""
    with temporary_server(PostgresServer, "--fsync=off") as server, django_db_blocker.unblock():
        server.create_database()
        with server.alias(PRIMARY):
            call_command("migrate", database=PRIMARY, verbosity=0)
        yield server


@pytest.fixture(scope="package")
def replica(primary: PostgresServer) -> Iterator[PostgresReplica]:
    with temporary_server(PostgresReplica, "--fsync=off", primary=primary) as server:
        server.catch_up()
        yield server


@pytest.fixture
def routed(
    primary: PostgresServer, replica: PostgresReplica, settings: Any, django_db_blocker: Any
) -> Iterator[DjangoCheckpointer]:
    """A checkpointer in a project with the documented router and middleware."""
    settings.DATABASE_ROUTERS = [f"{DOCUMENTED}.CheckpointRouter", f"{DOCUMENTED}.OthersRouter"]
    settings.MIDDLEWARE = [
        f"{DOCUMENTED}.ReadYourWritesMiddleware",
        *django_settings.MIDDLEWARE,
    ]
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        stack.enter_context(primary.alias(PRIMARY))
        stack.enter_context(replica.alias(REPLICA))
        yield DjangoCheckpointer()
        own = DjangoCheckpointer(PRIMARY)
        for session_id in own.list_sessions():
            own.delete_session(session_id)
        replica.catch_up()


@pytest.fixture
def asked(routed: DjangoCheckpointer) -> Asked:
    """Return a function that returns the aliases on which a call used the tables of the app."""

    def get_aliases(call: Callable[[], Any]) -> set[str]:
        with captured(PRIMARY) as on_primary, captured(REPLICA) as on_replica:
            call()
        found = {PRIMARY: on_primary, REPLICA: on_replica}
        return {
            alias
            for alias, queries in found.items()
            if any(TABLES in statement for statement in queries.statements)
        }

    return get_aliases


@pytest.fixture
def paused(replica: PostgresReplica) -> Paused:
    """Return a function whose context has a replica that replays nothing more."""

    @contextmanager
    def pause() -> Iterator[None]:
        replica.catch_up()
        replica.execute("SELECT pg_wal_replay_pause()")
        try:
            yield
        finally:
            replica.execute("SELECT pg_wal_replay_resume()")
            replica.catch_up()

    return pause


@pytest.fixture
def superuser(routed: DjangoCheckpointer) -> Iterator[Any]:
    """A user of the primary with all permissions."""
    from django.contrib.auth.models import User

    user = User.objects.create_superuser("operator")
    yield user
    user.delete()
