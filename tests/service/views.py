"""Views that save, for the tests of requests."""

from __future__ import annotations

import asyncio

from django.contrib.auth.models import Group
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from tests.strategies import a_checkpoint
from weavegraph_checkpoints import ConcurrencyConflict
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer


def save(request: HttpRequest, step: int) -> HttpResponse:
    """Save a step and a business row; answer 409 to a conflict, and fail when told to."""
    Group.objects.create(name=f"business {step}")
    try:
        DjangoCheckpointer().save_with_concurrency_check(a_checkpoint(step=step), step - 1)
    except ConcurrencyConflict:
        return HttpResponse("conflict", status=409)
    if "fail" in request.GET:
        raise RuntimeError("after the save")
    return JsonResponse({"in_atomic_block": connection.in_atomic_block})


async def asave(request: HttpRequest, step: int) -> HttpResponse:
    """Save several sessions concurrently, and read them back."""
    checkpointer = DjangoCheckpointer()
    ids = [f"session {number}" for number in range(5)]
    await asyncio.gather(
        *(
            checkpointer.asave_with_concurrency_check(a_checkpoint(session_id, step), step - 1)
            for session_id in ids
        )
    )
    latest = await asyncio.gather(*map(checkpointer.aload_latest, ids))
    return JsonResponse({kept.session_id: kept.step for kept in latest if kept is not None})


urlpatterns = [
    path("save/<int:step>/", save),
    path("asave/<int:step>/", asave),
]
