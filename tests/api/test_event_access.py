"""Permissions and tenancy of an event stream, which are checked again while it is open."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.sessions.models import Session as BrowserSession
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.http import Http404
from django.test import Client
from rest_framework.authentication import BaseAuthentication, TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import PermissionDenied

from tests.api.clients import ALL, assert_error, create_client, create_user, session_url
from tests.api.event_streams import Listener
from tests.api.queries import capture_app_queries
from tests.builders import save_history
from weavegraph_checkpoints.api.events import EventViewSet
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
from weavegraph_checkpoints.models import Session

RUN = session_url("run", "events/")
BY_NAME = "tests.api.owners.get_owner_by_name"


@pytest.fixture(autouse=True)
def stored(settings: Any, db: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"EVENTS_MAX_SECONDS": 60}
    save_history(DjangoCheckpointer(owner="ann"), "run", [1])


@pytest.fixture
def ann() -> Client:
    return create_client("view_session", username="ann")


def save(step: int) -> None:
    save_history(DjangoCheckpointer(), "run", [step])


def get_user() -> User:
    return User.objects.get(username="ann")


def change_password() -> None:
    user = get_user()
    user.set_password("another")
    user.save()


LOSSES: dict[str, Callable[[], Any]] = {
    "permission": lambda: get_user().user_permissions.clear(),
    "deactivated": lambda: User.objects.update(is_active=False),
    "user deleted": lambda: get_user().delete(),
    "logged out": lambda: BrowserSession.objects.all().delete(),
    "password changed": change_password,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_no_step_is_sent_after_access_was_lost(listener: Listener, ann: Client, loss: str) -> None:
    def lose_and_save() -> None:
        LOSSES[loss]()
        save(3)

    stream = listener.listen(ann, RUN, lambda: save(2), lose_and_save)
    assert (stream.steps, stream.end) == ([2], "forbidden")
    assert_error(
        listener.get(ann, RUN),
        403,
        "permission_denied" if loss == "permission" else "not_authenticated",
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_an_idle_stream_ends_after_access_was_lost(
    listener: Listener, ann: Client, loss: str
) -> None:
    stream = listener.listen(ann, RUN, *[lambda: None] * 20, LOSSES[loss])
    assert (stream.steps, stream.end) == ([], "forbidden")
    assert 20 < sum(listener.sleeps) <= 31


def test_a_permission_of_a_group(listener: Listener) -> None:
    user = create_user(username="ann")
    group = Group.objects.create(name="watchers")
    group.permissions.set(
        Permission.objects.filter(
            content_type__app_label="weavegraph_checkpoints", codename="view_session"
        )
    )
    user.groups.add(group)
    client = Client()
    client.force_login(user)

    def leave() -> None:
        user.groups.clear()
        save(3)

    stream = listener.listen(client, RUN, lambda: save(2), leave)
    assert (stream.steps, stream.end) == ([2], "forbidden")


def test_a_user_who_gets_another_permission_stays(listener: Listener, ann: Client) -> None:
    def promote() -> None:
        User.objects.update(is_superuser=True)
        get_user().user_permissions.clear()

    stream = listener.listen(ann, RUN, promote, lambda: save(2))
    assert (stream.steps, stream.end) == ([2], "timeout")


def test_the_checks_cost_a_few_queries_every_15_seconds(listener: Listener, ann: Client) -> None:
    stream, queries = capture_app_queries(lambda: listener.listen(ann, RUN))
    assert stream.end == "timeout"
    looked_up = [sql for sql in queries if "last_step" in sql]
    assert len(looked_up) == 2 + len(listener.sleeps)


@pytest.fixture
def by_token(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(EventViewSet, "authentication_classes", [TokenAuthentication])
    token = Token.objects.create(user=create_user("view_session", username="ann"))
    return Client(headers={"Authorization": f"Token {token.key}"})


@pytest.mark.parametrize("loss", ["token", "permission", "deactivated", "user deleted"])
def test_a_token(by_token: Client, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener("wsgi", monkeypatch)
    lose = {**LOSSES, "token": lambda: Token.objects.all().delete()}[loss]

    def lose_and_save() -> None:
        lose()
        save(3)

    stream = listener.listen(by_token, RUN, lambda: save(2), lose_and_save)
    assert (stream.steps, stream.end) == ([2], "forbidden")


def test_a_logout_does_not_end_a_stream_with_a_token(
    by_token: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_token.force_login(get_user())

    def log_out() -> None:
        BrowserSession.objects.all().delete()
        save(2)

    stream = Listener("wsgi", monkeypatch).listen(by_token, RUN, log_out)
    assert (stream.steps, stream.end) == ([2], "timeout")


class Robot:
    """A user that is not in the database."""

    is_authenticated = True
    is_active = True
    allowed = True

    def has_perm(self, name: str) -> bool:
        return self.allowed


class RobotAuthentication(BaseAuthentication):
    """Authenticates every request as a robot."""

    robot = Robot()

    def authenticate(self, request: Any) -> Any:
        return self.robot, SimpleNamespace()


def test_a_user_that_is_no_model(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventViewSet, "authentication_classes", [RobotAuthentication])
    monkeypatch.setattr(RobotAuthentication, "robot", Robot())

    def forbid() -> None:
        RobotAuthentication.robot.allowed = False
        save(3)

    stream = listener.listen(Client(), RUN, lambda: save(2), forbid)
    assert (stream.steps, stream.end) == ([2], "forbidden")


def test_a_session_of_another_owner(listener: Listener, ann: Client, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS["API_OWNER"] = BY_NAME
    stream = listener.listen(ann, RUN, lambda: save(2))
    assert (stream.steps, stream.end) == ([2], "timeout")
    bob = create_client(*ALL, username="bob")
    assert_error(listener.get(bob, RUN), 404, "not_found")
    admin = create_client(*ALL, username="admin")
    assert listener.listen(admin, f"{RUN}?after_step=0").steps == [1, 2]


def test_a_session_that_changes_its_owner(listener: Listener, ann: Client, settings: Any) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS["API_OWNER"] = BY_NAME

    def give_away() -> None:
        Session.objects.update(owner="bob")
        save(3)

    stream = listener.listen(ann, RUN, lambda: save(2), give_away)
    assert (stream.steps, stream.end) == ([2], "deleted")


def test_a_session_of_another_owner_with_the_same_id(
    listener: Listener, ann: Client, settings: Any
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS["API_OWNER"] = BY_NAME

    def recreate() -> None:
        DjangoCheckpointer().delete_session("run")
        save_history(DjangoCheckpointer(owner="bob"), "run", [1, 2, 3, 4])

    stream = listener.listen(ann, RUN, lambda: save(2), recreate)
    assert (stream.steps, stream.end) == ([2], "deleted")


@pytest.mark.parametrize("moment", ["idle", "new step"])
def test_a_user_who_changes_the_tenant(
    listener: Listener, ann: Client, settings: Any, moment: str
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS["API_OWNER"] = BY_NAME

    def move() -> None:
        User.objects.update(username="bob")
        if moment == "new step":
            save(3)

    stream = listener.listen(ann, RUN, lambda: save(2), move)
    assert (stream.steps, stream.end) == ([2], "deleted")


REFUSALS = {
    "django": DjangoPermissionDenied,
    "not found": Http404,
    "rest_framework": PermissionDenied,
}


def refuse(request: Any) -> str | None:
    """Refuse users who are not staff, as their name says."""
    if not request.user.is_staff:
        raise REFUSALS[request.user.first_name]
    return None


@pytest.mark.parametrize("refusal", REFUSALS)
def test_api_owner_that_refuses(
    listener: Listener, ann: Client, settings: Any, refusal: str
) -> None:
    User.objects.update(is_staff=True, first_name=refusal)
    settings.WEAVEGRAPH_CHECKPOINTS["API_OWNER"] = f"{__name__}.refuse"

    def demote() -> None:
        User.objects.update(is_staff=False)
        save(3)

    stream = listener.listen(ann, RUN, lambda: save(2), demote)
    assert (stream.steps, stream.end) == ([2], "forbidden")


def test_the_anonymous(listener: Listener) -> None:
    assert_error(listener.get(Client(), RUN), 403, "not_authenticated")
    assert not AnonymousUser().is_authenticated
