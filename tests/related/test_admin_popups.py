"""The popup of ``raw_id_fields`` lists the sessions that a relation may refer to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.widgets import ForeignKeyRawIdWidget
from django.test import Client
from django.utils import timezone

from tests.admin.conftest import admin_client, make_client
from weavegraph_checkpoints.models import Session

__all__ = ["admin_client", "make_client"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("sessions")]

PopupUrl = Callable[[Any], str]


@pytest.fixture
def sessions(db: None) -> None:
    now = timezone.now()
    rows = [
        ("a", "me", "finished", 0, 1),
        ("b", "you", "resumable", 2, 30),
        ("c", "", "empty", 0, 60),
    ]
    for name, owner, status, errors, days in rows:
        Session.objects.create(
            id=name,
            owner=owner,
            status=status,
            last_error_count=errors,
            updated_at=now - timedelta(days=days),
        )


@pytest.fixture(params=[("Order", "cascade"), ("Profile", "session"), ("Basket", "sessions")])
def get_popup_url(request: Any, monkeypatch: pytest.MonkeyPatch) -> PopupUrl:
    """Return a function that limits a relation, and returns the URL of its popup."""
    from tests.related import models

    name, field = request.param
    relation = getattr(models, name)._meta.get_field(field).remote_field

    def get_popup_url(limits: Any) -> str:
        monkeypatch.setattr(relation, "limit_choices_to", limits)
        widget = ForeignKeyRawIdWidget(relation, admin.site)
        url: str = widget.get_context("session", None, {})["related_url"]
        assert "_to_field=id" in url
        return f"{url}&_popup=1"  # As Django's script does.

    return get_popup_url


def get_listed_ids(client: Client, url: str) -> list[str]:
    response = client.get(url)
    assert response.status_code == 200
    for session in response.context["cl"].result_list:
        assert f'data-popup-opener="{session.pk}"' in response.content.decode()
    return [session.pk for session in response.context["cl"].result_list]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"owner": "me"}, ["a"]),
        ({"owner": "me", "status": "resumable"}, []),
        ({"status__in": ["finished", "resumable"]}, ["a", "b"]),
        ({"last_error_count__gt": 0}, ["b"]),
        (lambda: {"updated_at__gte": timezone.now() - timedelta(days=40)}, ["a", "b"]),
        ({"forked_from__isnull": True}, []),
    ],
)
def test_limit_choices_to_limits_the_list(
    admin_client: Client, get_popup_url: PopupUrl, limits: Any, expected: list[str]
) -> None:
    assert get_listed_ids(admin_client, get_popup_url(limits)) == expected


def test_limits_apply_with_search_and_filters(
    admin_client: Client, get_popup_url: PopupUrl
) -> None:
    url = get_popup_url({"status__in": ["finished", "resumable"]})
    assert get_listed_ids(admin_client, f"{url}&q=c") == []
    assert get_listed_ids(admin_client, f"{url}&q=b") == ["b"]
    assert get_listed_ids(admin_client, f"{url}&errors=no") == ["a"]
    changelist = admin_client.get(f"{url}&errors=yes&q=x").context["cl"]
    assert get_listed_ids(
        admin_client, f"/admin/weavegraph_checkpoints/session/{changelist.unfiltered_query}"
    ) == ["a", "b"]
    assert "_popup=1" in changelist.unfiltered_query


def test_look_ups_of_no_filter_and_no_relation_are_ignored(
    admin_client: Client, get_popup_url: PopupUrl
) -> None:
    url = get_popup_url({"owner": "me"})
    assert get_listed_ids(admin_client, f"{url}&last_state__contains=x&size=3&orders__pk=1") == [
        "a"
    ]


def test_the_list_of_a_popup_does_not_offer_to_prune(
    admin_client: Client, get_popup_url: PopupUrl
) -> None:
    assert "Prune…" not in admin_client.get(get_popup_url({})).content.decode()
