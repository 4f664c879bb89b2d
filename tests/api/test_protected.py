"""DELETE of a session that objects of other models refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.clients import ALL, assert_error, create_client, session_url
from tests.builders import save_history
from tests.related.models import Ledger, Order
from tests.related.shop import installed_shop
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def shop(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), installed_shop():
        yield


@pytest.mark.parametrize("atomic_requests", [False, True])
def test_a_protected_session_is_a_conflict(settings: Any, atomic_requests: bool) -> None:
    from django.db import connections

    settings_dict = connections["default"].settings_dict
    before, settings_dict["ATOMIC_REQUESTS"] = settings_dict["ATOMIC_REQUESTS"], atomic_requests
    try:
        for session_id in ("a", "b", "c"):
            save_history(DjangoCheckpointer(), session_id, [1])
        Order.objects.create(protect_id="a", null_id="b")
        Order.objects.create(cascade_id="b")
        Ledger.objects.create(session_id="c")
        api = create_client(*ALL)
        for session_id, label in (("a", "related.Order"), ("c", "related.Ledger")):
            response = api.delete(session_url(session_id))
            assert_error(response, 409, "session_protected")
            assert response.json()["detail"] == f"session '{session_id}' is protected by {label}"
        assert api.delete(session_url("b")).status_code == 204
        assert set(Session.objects.values_list("pk", flat=True)) == {"a", "c"}
        assert list(Order.objects.values_list("cascade", "null")) == [(None, None)]
    finally:
        settings_dict["ATOMIC_REQUESTS"] = before
