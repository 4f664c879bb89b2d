"""Users with different permissions, and a session to browse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.admin.example_runs import a_run
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

PERMISSIONS = {
    "staff": (),
    "viewer": ("view_session",),
    "forker": ("view_session", "add_session"),
    "labeller": ("view_session", "change_session"),
    "deleter": ("view_session", "delete_session"),
}
ROLES = ("anonymous", "member", *PERMISSIONS, "superuser")

MakeClient = Callable[[str], Client]


@pytest.fixture
def make_client(db: None) -> MakeClient:
    """Return a function that returns a client logged in with a role."""

    def make_client(role: str) -> Client:
        client = Client()
        if role != "anonymous":
            client.force_login(get_user(role))
        return client

    return make_client


def get_user(role: str) -> User:
    """Return the user with a role; create it if necessary."""
    user, _made = User.objects.get_or_create(
        username=role,
        defaults={"is_staff": role != "member", "is_superuser": role == "superuser"},
    )
    names = PERMISSIONS.get(role, ())
    user.user_permissions.set(
        Permission.objects.filter(
            content_type__app_label="weavegraph_checkpoints", codename__in=names
        )
    )
    return user


@pytest.fixture
def admin_client(make_client: MakeClient) -> Client:
    """A client logged in as a superuser."""
    return make_client("superuser")


@pytest.fixture
def run(db: None) -> str:
    """The id of a session of six steps with two errors."""
    for checkpoint in a_run("run/1"):
        DjangoCheckpointer().save(checkpoint)
    return "run/1"
