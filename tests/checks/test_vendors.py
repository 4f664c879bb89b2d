"""The error for a database that the app does not support."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connections

from weavegraph_checkpoints.checks import check_vendors


class Fake:
    """A connection that claims to be of a vendor."""

    alias = "default"

    def __init__(self, vendor: str, **attributes: Any) -> None:
        self.vendor = vendor
        self.display_name = vendor.title()
        self.__dict__.update(attributes)


class Unreachable(Fake):
    @property
    def mysql_is_mariadb(self) -> bool:
        raise DatabaseError("no answer")


def messages_for(monkeypatch: pytest.MonkeyPatch, connection: Fake) -> list[Any]:
    monkeypatch.setattr(
        "weavegraph_checkpoints.checks.connections",
        type(
            "Connections",
            (),
            {"__iter__": lambda s: iter(["default"]), "__getitem__": lambda s, a: connection},
        )(),
    )
    return check_vendors()


@pytest.mark.django_db(databases=["default", "other"])
def test_the_database_under_test_is_supported() -> None:
    assert check_vendors() == []


@pytest.mark.parametrize(
    ("connection", "name"),
    [
        (Fake("oracle"), "Oracle"),
        (Fake("mysql", mysql_is_mariadb=False, mysql_version=(8, 4, 1)), "MySQL"),
        (Fake("mysql", mysql_is_mariadb=True, mysql_version=(10, 6, 18)), "MariaDB 10.6.18"),
    ],
)
def test_an_unsupported_database(
    monkeypatch: pytest.MonkeyPatch, connection: Fake, name: str
) -> None:
    (message,) = messages_for(monkeypatch, connection)
    assert message.id == "weavegraph_checkpoints.E001"
    assert message.is_serious()
    assert message.msg == f"weavegraph_checkpoints does not support {name} (database 'default')."
    for supported in ("SQLite", "PostgreSQL 14", "MariaDB 10.11", "router"):
        assert supported in message.hint


@pytest.mark.parametrize(
    "connection",
    [
        Fake("sqlite"),
        Fake("postgresql"),
        Fake("mysql", mysql_is_mariadb=True, mysql_version=(10, 11, 2)),
        Fake("mysql", mysql_is_mariadb=True, mysql_version=(11, 4, 1)),
        Unreachable("mysql"),
    ],
)
def test_silence(monkeypatch: pytest.MonkeyPatch, connection: Fake) -> None:
    assert messages_for(monkeypatch, connection) == []


def test_silence_where_a_router_keeps_the_tables_away(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.DATABASE_ROUTERS = ["tests.routers.NowhereRouter"]
    assert messages_for(monkeypatch, Fake("oracle")) == []


def test_every_alias_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for alias in ("default", "other"):
        monkeypatch.setattr(connections[alias], "vendor", "oracle")
    assert [message.id for message in check_vendors()] == ["weavegraph_checkpoints.E001"] * 2
