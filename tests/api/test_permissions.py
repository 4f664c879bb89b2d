"""Permissions: each kind of user, and each call."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from tests.api.calls import CALLS, Call
from tests.api.clients import ALL, assert_error, create_client, create_user, put, step_url
from tests.builders import everything_stored, save_history
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import serde
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

UNRELATED = {"view_step", "delete_step"}


@pytest.fixture(autouse=True)
def stored(checkpointer: DjangoCheckpointer) -> None:
    owned = DjangoCheckpointer(owner="ann")
    save_history(owned, "run", [1, 2])
    save_history(owned, "other", [1])


@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("permission", [*ALL, *sorted(UNRELATED)])
def test_each_permission_allows_only_its_calls(call: Call, permission: str) -> None:
    before = everything_stored()
    answer = call.by(create_client(permission))
    if permission == call.needs:
        assert answer.status_code == call.status
    else:
        assert_error(answer, 403, "permission_denied")
        assert everything_stored() == before


@pytest.mark.parametrize("call", CALLS, ids=str)
class TestOthers:
    def test_anonymous(self, call: Call) -> None:
        before = everything_stored()
        assert_error(call.by(Client()), 403, "not_authenticated")
        assert everything_stored() == before

    def test_signed_in_without_a_permission(self, call: Call) -> None:
        before = everything_stored()
        for fields in ({}, {"is_staff": True}):
            assert_error(call.by(create_client(**fields)), 403, "permission_denied")
        assert everything_stored() == before

    def test_every_permission_except_the_required_one(self, call: Call) -> None:
        before = everything_stored()
        rest = {*ALL, *UNRELATED} - {call.needs}
        assert_error(call.by(create_client(*rest)), 403, "permission_denied")
        assert everything_stored() == before

    def test_inactive(self, call: Call) -> None:
        assert_error(call.by(create_client(*ALL, is_active=False)), 403, "not_authenticated")

    def test_a_superuser(self, call: Call) -> None:
        assert call.by(create_client(is_superuser=True)).status_code == call.status

    def test_a_member_of_a_group(self, call: Call) -> None:
        user = create_user()
        group = Group.objects.create(name="runtimes")
        group.permissions.set(
            Permission.objects.filter(
                content_type__app_label="weavegraph_checkpoints", codename=call.needs
            )
        )
        user.groups.add(group)
        client = Client()
        client.force_login(user)
        assert call.by(client).status_code == call.status

    def test_permissions_are_checked_before_the_session_is_looked_up(self, call: Call) -> None:
        DjangoCheckpointer().delete_session("run")
        assert_error(call.by(create_client()), 403, "permission_denied")


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_basic_authentication_is_challenged(call: Call, settings: Any) -> None:
    from rest_framework.authentication import BasicAuthentication

    from weavegraph_checkpoints.api.events import EventViewSet
    from weavegraph_checkpoints.api.viewsets import SessionViewSet, StepViewSet

    patch = pytest.MonkeyPatch()
    for view in (SessionViewSet, StepViewSet, EventViewSet):
        patch.setattr(view, "authentication_classes", [BasicAuthentication])
    try:
        answer = call.by(Client())
        assert_error(answer, 401, "not_authenticated")
        assert answer["WWW-Authenticate"].startswith("Basic")
        wrong = Client(headers={"Authorization": "Basic YTpi"})
        assert_error(call.by(wrong), 401, "authentication_failed")
    finally:
        patch.undo()


@pytest.mark.parametrize("may", ["add_step", "change_step"])
def test_add_step_only_adds_and_change_step_only_replaces(may: str) -> None:
    client = create_client(may)
    for step, is_new in ((2, False), (3, True)):
        before = everything_stored()
        answer = put(client, step_url("run", step), serde.dumps(a_checkpoint("run", step)))
        if is_new == (may == "add_step"):
            assert answer.status_code == (201 if is_new else 200)
        else:
            assert_error(answer, 403, "permission_denied")
            assert everything_stored() == before


def test_a_refused_save_creates_no_session() -> None:
    body = serde.dumps(a_checkpoint("new", 1))
    assert_error(
        put(create_client("change_step"), step_url("new", 1), body), 403, "permission_denied"
    )
    assert not Session.objects.filter(id="new").exists()


def test_a_save_with_expected_last_step_requires_add_step() -> None:
    body = serde.dumps(a_checkpoint("run", 2))
    path = f"{step_url('run', 2)}?expected_last_step=1"
    assert_error(put(create_client("change_step"), path, body), 403, "permission_denied")
