"""The async twin of each call."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, connections, transaction
from django.test import AsyncClient

from tests.builders import save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import (
    ConcurrencyConflict,
    SessionExists,
    SessionNotFound,
    StateTooLarge,
    StepQuery,
)
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

CALLS = [
    "save",
    "load_latest",
    "list_sessions",
    "query_steps",
    "save_with_concurrency_check",
    "load",
    "delete_session",
    "fork_session",
    "get_labels",
    "set_labels",
    "find_sessions",
]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run in an event loop of its own, as a script does."""

    async def and_close() -> Any:
        try:
            return await coroutine
        finally:
            await sync_to_async(connections.close_all)()

    return asyncio.run(and_close())


@pytest.mark.parametrize("name", CALLS)
def test_each_call_has_a_twin_of_the_same_signature(name: str) -> None:
    call, twin = getattr(DjangoCheckpointer, name), getattr(DjangoCheckpointer, f"a{name}")
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(twin) == inspect.signature(call)


def test_each_twin_does_what_its_call_does(checkpointer: DjangoCheckpointer) -> None:
    async def use() -> None:
        await checkpointer.asave(a_checkpoint(step=1, ran_nodes=["plan"]))
        await checkpointer.asave_with_concurrency_check(a_checkpoint(step=2), 1)
        latest = await checkpointer.aload_latest("session")
        assert latest is not None
        assert latest.step == 2
        loaded = await checkpointer.aload("session", 1)
        assert loaded == a_checkpoint(step=1, ran_nodes=["plan"])
        page = await checkpointer.aquery_steps("session", StepQuery(ran_node="plan"))
        assert page.checkpoints == (loaded,)
        assert (await checkpointer.aquery_steps("session")).page_info.total_count == 2
        fork = await checkpointer.afork_session("session", "fork", at_step=1)
        assert fork.step == 1
        assert (await checkpointer.afork_session("session", "whole")).step == 2
        assert sorted(await checkpointer.alist_sessions()) == ["fork", "session", "whole"]
        assert await checkpointer.aset_labels("fork", {"a": "1", "b": "2"}) == {"a": "1", "b": "2"}
        assert await checkpointer.aset_labels("fork", {"a": "1"}, replace=True) == {"a": "1"}
        assert await checkpointer.aget_labels("fork") == {"a": "1"}
        (found,) = (await checkpointer.afind_sessions(labels={"a": "1"}, limit=1)).sessions
        assert found.session_id == "fork"
        assert await checkpointer.adelete_session("fork") is True
        assert await checkpointer.adelete_session("fork") is False

    run(use())
    assert sorted(checkpointer.list_sessions()) == ["session", "whole"]


def test_errors_reach_the_awaiting_caller(checkpointer: DjangoCheckpointer, settings: Any) -> None:
    save_history(checkpointer, "session", [1])

    async def use() -> None:
        with pytest.raises(ConcurrencyConflict):
            await checkpointer.asave_with_concurrency_check(a_checkpoint(step=5), 4)
        with pytest.raises(SessionExists):
            await checkpointer.afork_session("session", "session")
        with pytest.raises(SessionNotFound):
            await checkpointer.afork_session("unknown", "fork")
        settings.WEAVEGRAPH_CHECKPOINTS = {"MAX_STATE_BYTES": 1}
        with pytest.raises(StateTooLarge):
            await checkpointer.asave(a_checkpoint(step=2))

    run(use())


def test_many_calls_may_be_gathered(checkpointer: DjangoCheckpointer) -> None:
    async def use() -> None:
        await asyncio.gather(
            *(checkpointer.asave(a_checkpoint(f"s{number % 5}", number)) for number in range(30)),
            *(checkpointer.aload_latest("s1") for _ in range(5)),
        )
        pages = await asyncio.gather(
            *(checkpointer.aquery_steps(f"s{number}") for number in range(5))
        )
        assert [page.page_info.total_count for page in pages] == [6] * 5

    run(use())


def test_gathered_writers_of_one_expectation_have_one_winner(
    checkpointer: DjangoCheckpointer,
) -> None:
    async def use() -> list[Any]:
        return await asyncio.gather(
            *(
                checkpointer.asave_with_concurrency_check(a_checkpoint(step=number), 0)
                for number in range(1, 9)
            ),
            return_exceptions=True,
        )

    results = run(use())
    assert results.count(None) == 1
    assert sum(isinstance(result, ConcurrencyConflict) for result in results) == 7


def test_a_twin_joins_the_transaction_of_a_synchronous_caller(
    checkpointer: DjangoCheckpointer,
) -> None:
    with transaction.atomic():
        async_to_sync(checkpointer.asave)(a_checkpoint())
        assert Session.objects.count() == 1
        transaction.set_rollback(True)
    assert Session.objects.count() == 0


@pytest.mark.urls("tests.service.views")
def test_an_async_view_saves_and_reads(committed: None) -> None:
    async def ask() -> list[Any]:
        client = AsyncClient()
        responses = [await client.get(f"/asave/{step}/") for step in (1, 2)]
        return [response.json() for response in responses]

    expected = [{f"session {number}": step for number in range(5)} for step in (1, 2)]
    assert async_to_sync(ask)() == expected
    assert not connection.in_atomic_block
