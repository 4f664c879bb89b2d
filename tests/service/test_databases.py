"""``using``, routers, and the options of an alias."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import NotSupportedError, OperationalError, connection, connections

from tests.assertions import assert_same
from tests.builders import everything_stored, save_history
from tests.service.racing import alias_like
from tests.service.statements import captured
from tests.strategies import a_checkpoint, a_full_checkpoint
from weavegraph_checkpoints import ConcurrencyConflict, SessionExists, StepQuery
from weavegraph_checkpoints.backends import get_backend
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

CALLS: dict[str, tuple[str, Callable[[DjangoCheckpointer], Any]]] = {
    "save": ("write", lambda kept: kept.save(a_checkpoint(step=3))),
    "save_with_concurrency_check": (
        "write",
        lambda kept: kept.save_with_concurrency_check(a_checkpoint(step=3), 2),
    ),
    "load_latest": ("write", lambda kept: kept.load_latest("session")),
    "load": ("write", lambda kept: kept.load("session", 1)),
    "delete_session": ("write", lambda kept: kept.delete_session("session")),
    "fork_session": ("write", lambda kept: kept.fork_session("session", "fork")),
    "list_sessions": ("read", lambda kept: kept.list_sessions()),
    "query_steps": ("read", lambda kept: kept.query_steps("session")),
}


def statements_of(call: Callable[[], Any]) -> dict[str, int]:
    with captured("default") as on_default, captured("other") as on_other:
        call()
    return {"default": len(on_default), "other": len(on_other)}


@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.parametrize("name", CALLS)
def test_a_router_sends_each_call_where_it_writes_or_reads(name: str, settings: Any) -> None:
    for using in ("default", "other"):
        save_history(DjangoCheckpointer(using), "session", [1, 2])
    settings.DATABASE_ROUTERS = ["tests.service.routers.Split"]
    kind, call = CALLS[name]
    asked = statements_of(lambda: call(DjangoCheckpointer()))
    expected, elsewhere = ("other", "default") if kind == "write" else ("default", "other")
    assert asked[expected] > 0
    assert asked[elsewhere] == 0


@pytest.mark.django_db(databases=["default", "other"])
@pytest.mark.parametrize("using", ["default", "other"])
@pytest.mark.parametrize("name", CALLS)
def test_an_alias_is_used_for_everything_whatever_the_router_says(
    name: str, using: str, settings: Any
) -> None:
    for alias in ("default", "other"):
        save_history(DjangoCheckpointer(alias), "session", [1, 2])
    settings.DATABASE_ROUTERS = ["tests.service.routers.Split"]
    call = CALLS[name][1]
    asked = statements_of(lambda: call(DjangoCheckpointer(using)))
    assert asked.pop(using) > 0
    assert set(asked.values()) == {0}


@pytest.mark.django_db(databases=["default", "other"])
def test_without_a_router_the_default_database_is_used() -> None:
    DjangoCheckpointer().save(a_checkpoint())
    assert DjangoCheckpointer("default").list_sessions() == ["session"]
    assert DjangoCheckpointer("other").list_sessions() == []


def test_two_databases_are_two_worlds(committed: None) -> None:
    first, second = DjangoCheckpointer("default"), DjangoCheckpointer("other")
    save_history(first, "session", [1, 2])
    save_history(second, "session", [7])
    before = everything_stored("default")
    second.save_with_concurrency_check(a_checkpoint(step=8), 7)
    second.fork_session("session", "fork")
    assert second.delete_session("session") is True
    with pytest.raises(ConcurrencyConflict):
        second.save_with_concurrency_check(a_checkpoint("fork", 9), 7)
    assert everything_stored("default") == before
    assert [kept.step for kept in second.query_steps("fork").checkpoints] == [8, 7]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_opens_a_connection_that_was_closed(
    checkpointer: DjangoCheckpointer, name: str
) -> None:
    history = save_history(checkpointer, "session", [1, 2])
    save_history(checkpointer, "kept", [1])
    connection.close()
    CALLS[name][1](checkpointer)
    connection.close()
    assert checkpointer.load("kept", 1) is not None
    assert checkpointer.load("session", 1) in (history[0], None)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns"])
def test_times_are_the_same_whatever_zone_an_alias_has(committed: None, zone: str) -> None:
    created_at = datetime(2026, 1, 2, 23, 4, 5, 678901, tzinfo=UTC)
    with alias_like("default", "elsewhere", TIME_ZONE=zone) as alias:
        elsewhere, here = DjangoCheckpointer(alias), DjangoCheckpointer()
        saved = a_checkpoint(created_at=created_at)
        elsewhere.save(saved)
        assert_same(elsewhere.load("session", 1), saved)
        assert_same(here.load("session", 1), saved)
        assert elsewhere.load_latest("session") == here.load_latest("session")


def do_everything(checkpointer: DjangoCheckpointer) -> None:
    saved = a_full_checkpoint()
    checkpointer.save(saved)
    assert_same(checkpointer.load("session", 1), saved)
    checkpointer.save_with_concurrency_check(a_checkpoint(step=2), 1)
    with pytest.raises(ConcurrencyConflict):
        checkpointer.save_with_concurrency_check(a_checkpoint(step=2), 1)
    asked = StepQuery(ran_node="Start", min_step=0, max_step=9, limit=5, offset=0)
    assert_same(checkpointer.query_steps("session", asked).checkpoints, (saved,))
    assert checkpointer.fork_session("session", "fork", at_step=1).step == 1
    with pytest.raises(SessionExists):
        checkpointer.fork_session("session", "fork")
    assert sorted(checkpointer.list_sessions()) == ["fork", "session"]
    assert checkpointer.delete_session("session")
    assert checkpointer.delete_session("fork")


@pytest.mark.vendor("postgresql")
@pytest.mark.parametrize("server_side", [True, False])
def test_parameters_may_be_bound_by_the_server(committed: None, server_side: bool) -> None:
    options = {"server_side_binding": server_side}
    with alias_like("default", "bound", OPTIONS=options) as alias:
        do_everything(DjangoCheckpointer(alias))
        do_everything(DjangoCheckpointer(alias, owner="ann"))


@pytest.mark.vendor("sqlite")
def test_sqlite_without_immediate_transactions_serves_too(committed: None) -> None:
    with alias_like("default", "deferred", OPTIONS={"transaction_mode": "DEFERRED"}) as alias:
        do_everything(DjangoCheckpointer(alias))


def test_an_unsupported_database_says_so() -> None:
    oracle = SimpleNamespace(vendor="oracle", display_name="Oracle")
    with pytest.raises(NotSupportedError, match="Oracle"):
        get_backend(oracle)  # type: ignore[arg-type]


def test_errors_of_the_database_pass_unchanged(checkpointer: DjangoCheckpointer) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("the disk is full")

    with connection.execute_wrapper(fail), pytest.raises(OperationalError, match="disk is full"):
        checkpointer.save(a_checkpoint())
    assert Session.objects.count() == 0
    assert connections["default"].in_atomic_block is False
