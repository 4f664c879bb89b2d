"""The admin shows and honours ``on_delete`` as Django's own admin does."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path

from tests.admin.example_runs import body
from tests.builders import save_history
from tests.related.models import Invoice, Ledger, Line, Order, Profile
from weavegraph_checkpoints.admin import SessionAdmin
from weavegraph_checkpoints.admin.urls import SessionURLs
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session, Step

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.urls(__name__),
]


class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


site = admin.AdminSite()
site.register(Session, SessionAdmin)
site.register(Order, OrderAdmin)
urlpatterns = [path("admin/", site.urls)]
session_urls = SessionURLs("admin")
LIST = "/admin/weavegraph_checkpoints/session/"


@pytest.fixture
def admin_client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def deleter() -> Client:
    user = User.objects.create_user("deleter", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=("view_session", "delete_session"))
    )
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def sessions() -> None:
    for session_id in ("a", "b", "c"):
        save_history(DjangoCheckpointer(), session_id, [1, 2])


def stored() -> list[str]:
    return list(Session.objects.order_by("pk").values_list("pk", flat=True))


def bulk(*ids: str, **more: str) -> dict[str, Any]:
    return {"action": "delete_selected", "_selected_action": ids, "index": "0", **more}


def test_the_confirmation_lists_what_is_deleted(admin_client: Client) -> None:
    order = Order.objects.create(cascade_id="a")
    Order.objects.create(null_id="a")
    Line.objects.create(order=order)
    Profile.objects.create(session_id="a")
    html = body(admin_client.get(session_urls.get_url("delete", "a")))
    assert f'Order: <a href="/admin/related/order/{order.pk}/change/">order {order.pk}</a>' in html
    for text in ("Line: line", "Profile: profile", "Steps: 2", "Orders: 1", "Lines: 1"):
        assert text in html
    assert "would require deleting the following protected" not in html
    assert "Steps: 4" in body(admin_client.post(LIST, bulk("a", "b")))
    admin_client.post(session_urls.get_url("delete", "a"), {"post": "yes"})
    assert stored() == ["b", "c"]
    assert not Line.objects.exists()
    assert Order.objects.get().null is None


def test_the_confirmation_lists_what_protects(admin_client: Client) -> None:
    Order.objects.create(protect_id="a")
    Invoice.objects.create(order=Order.objects.create(cascade_id="b"))
    for url, data in (
        (session_urls.get_url("delete", "a"), {}),
        (LIST, bulk("a", "b", "c")),
    ):
        for post in ({}, {"post": "yes"}):
            html = body(admin_client.post(url, {**data, **post}))
            assert "would require deleting the following protected" in html
            assert "Order: <a" in html
            assert ("Invoice: invoice" in html) == (url == LIST)
    assert stored() == ["a", "b", "c"]


@pytest.mark.parametrize("confirmation", ["page", "bulk"])
def test_no_step_and_no_state_is_read(admin_client: Client, confirmation: str) -> None:
    for _ in range(3):
        Line.objects.create(order=Order.objects.create(cascade_id="a"))
    with CaptureQueriesContext(connection) as captured:
        if confirmation == "page":
            admin_client.get(session_urls.get_url("delete", "a"))
        else:
            admin_client.post(LIST, bulk("a", "b"))
    statements = [query["sql"] for query in captured]
    table = Step._meta.db_table
    about_steps = [sql for sql in statements if table in sql]
    assert len(about_steps) == 1
    assert "COUNT(" in about_steps[0]
    assert not [
        sql for sql in statements if "last_state" + connection.ops.quote_name("")[-1] in sql
    ]


def test_what_the_database_refuses_is_a_message(admin_client: Client) -> None:
    Ledger.objects.create(session_id="b")
    message = "was not deleted: it is protected by related.Ledger."
    response = admin_client.post(session_urls.get_url("delete", "b"), {"post": "yes"}, follow=True)
    assert response.redirect_chain[-1][0] == session_urls.get_session_url("b")
    assert message in body(response)
    html = body(admin_client.post(LIST, bulk("a", "b", "c", post="yes"), follow=True))
    assert message in html
    assert stored() == ["b"]


def test_permission_to_delete_what_refers_to_a_session(deleter: Client) -> None:
    Order.objects.create(cascade_id="a")
    url = session_urls.get_url("delete", "a")
    assert "permission to delete the following types of objects" in body(deleter.get(url))
    assert deleter.post(url, {"post": "yes"}).status_code == 403
    assert deleter.post(LIST, bulk("a", post="yes")).status_code == 403
    for stage in ("preview", "run"):
        form = {"delete_inactive": "0d", "stage": stage}
        html = body(deleter.post(f"{LIST}prune/", form))
        assert "This also deletes orders, which you are not allowed to delete." in html
        assert stored() == ["a", "b", "c"]
    assert deleter.post(f"{LIST}prune/", {"keep_last": "1", "stage": "run"}).status_code == 302
    assert Step.objects.count() == 3


def test_a_prune_names_what_it_skips(admin_client: Client) -> None:
    Order.objects.create(protect_id="b", cascade_id="a")
    message = "1 session is not deleted, because other objects refer to it: \u2068b\u2069"
    form = {"delete_inactive": "0d", "stage": "preview"}
    html = body(admin_client.post(f"{LIST}prune/", form))
    assert message in html
    assert "4 steps and 2 sessions would be deleted" in html
    html = body(admin_client.post(f"{LIST}prune/", form | {"stage": "run"}, follow=True))
    assert message in html
    assert stored() == ["b"]
