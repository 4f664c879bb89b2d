"""Error 1419: the binary log of MariaDB is on, and the user has no privilege for triggers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DatabaseError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.scratch import migrate
from tests.servers import MariaDBServer
from tests.servers import temporary_server as private_server
from weavegraph_checkpoints import triggers
from weavegraph_checkpoints.checks import check_databases

ALIAS = "temporary_server"
USER = "without_super"
HINT = "log_bin_trust_function_creators = 1"


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server whose binary log is on, and which need not outlive a crash."""
    options = ["--log-bin", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]
    with private_server(MariaDBServer, *options) as server:
        yield server


@pytest.fixture
def temporary_server(
    server: MariaDBServer, django_db_blocker: pytest.FixtureRequest
) -> Iterator[BaseDatabaseWrapper]:
    """An empty database on a server where the user may do all, but nothing global."""
    server.execute(
        "SET GLOBAL log_bin_trust_function_creators = 0",
        "SET foreign_key_checks = 0",
        "CREATE OR REPLACE DATABASE weavegraph CHARACTER SET utf8mb4",
        f"CREATE OR REPLACE USER {USER}@localhost",
        f"GRANT ALL ON weavegraph.* TO {USER}@localhost",
    )
    connections.settings[ALIAS] = {
        **connections.settings["default"],
        "NAME": "weavegraph",
        "USER": USER,
        "PASSWORD": "",
        "HOST": str(server.socket),
        "PORT": "",
    }
    with django_db_blocker.unblock():
        try:
            yield connections[ALIAS]
        finally:
            connections[ALIAS].close()
            del connections[ALIAS]
            del connections.settings[ALIAS]


def warnings() -> list[str]:
    return [message.id for message in check_databases(databases=[ALIAS])]


@pytest.mark.vendor("mysql")
class TestPrivilege:
    def test_the_migration_names_the_error_and_what_to_do(
        self, temporary_server: BaseDatabaseWrapper
    ) -> None:
        with pytest.raises(OperationalError) as raised:
            migrate(temporary_server)
        code, text = raised.value.args
        assert code == 1419
        assert HINT in text
        assert "SUPER" in text
        assert warnings() == []

    def test_the_migration_goes_on_when_it_is_granted(
        self, temporary_server: BaseDatabaseWrapper, server: MariaDBServer
    ) -> None:
        with pytest.raises(OperationalError):
            migrate(temporary_server)
        server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        migrate(temporary_server)
        assert triggers.problems(temporary_server) == []
        assert warnings() == []

    def test_installing_by_hand_names_it_too(
        self, temporary_server: BaseDatabaseWrapper, server: MariaDBServer
    ) -> None:
        server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        migrate(temporary_server)
        server.execute("SET GLOBAL log_bin_trust_function_creators = 0")
        with pytest.raises(OperationalError, match=HINT):
            triggers.install(ALIAS)

    def test_the_check_warns_before_the_next_migration_fails(
        self, temporary_server: BaseDatabaseWrapper, server: MariaDBServer
    ) -> None:
        server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        migrate(temporary_server)
        server.execute("SET GLOBAL log_bin_trust_function_creators = 0")
        (message,) = check_databases(databases=[ALIAS])
        assert message.id == "weavegraph_checkpoints.W004"
        assert "1419" in message.msg
        assert HINT in str(message.hint)

    @pytest.mark.parametrize("privilege", ["SUPER", "SUPER, PROCESS", "ALL PRIVILEGES"])
    def test_a_privilege_that_suffices(
        self, temporary_server: BaseDatabaseWrapper, server: MariaDBServer, privilege: str
    ) -> None:
        server.execute(f"GRANT {privilege} ON *.* TO {USER}@localhost")
        migrate(temporary_server)
        assert triggers.problems(temporary_server) == []
        assert warnings() == []

    @pytest.mark.parametrize("privilege", ["PROCESS", "BINLOG ADMIN"])
    def test_a_privilege_that_does_not(
        self, temporary_server: BaseDatabaseWrapper, server: MariaDBServer, privilege: str
    ) -> None:
        server.execute(
            "CREATE DATABASE IF NOT EXISTS `SUPER`",
            f"GRANT {privilege} ON *.* TO {USER}@localhost",
            f"GRANT ALL PRIVILEGES ON `SUPER`.* TO {USER}@localhost",
            "SET GLOBAL log_bin_trust_function_creators = 1",
        )
        migrate(temporary_server)
        server.execute("SET GLOBAL log_bin_trust_function_creators = 0")
        assert warnings() == ["weavegraph_checkpoints.W004"]

    def test_other_errors_pass_unchanged(
        self, temporary_server: BaseDatabaseWrapper, server: MariaDBServer
    ) -> None:
        server.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        with pytest.raises(DatabaseError) as raised:
            triggers.install(ALIAS)
        assert HINT not in str(raised.value)
