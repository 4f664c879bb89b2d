"""Users of every kind, and sessions to look at."""

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
    "deleter": ("view_session", "delete_session"),
}
ROLES = ("anonymous", "member", *PERMISSIONS, "superuser")

ClientOf = Callable[[str], Client]


@pytest.fixture
def client_of(db: None) -> ClientOf:
    """Return a client that is signed in as a user of a role."""

    def client_of(role: str) -> Client:
        client = Client()
        if role != "anonymous":
            client.force_login(user_of(role))
        return client

    return client_of


def user_of(role: str) -> User:
    """Return the user of a role; made when there is none."""
    user, _made = User.objects.get_or_create(
        username=role,
        defaults={"is_staff": role != "member", "is_superuser": role == "superuser"},
    )
    names = PERMISSIONS.get(role, ())
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


@pytest.fixture
def root(client_of: ClientOf) -> Client:
    """A client that may do everything."""
    return client_of("superuser")


@pytest.fixture
def run(db: None) -> str:
    """A run of six steps with two errors; its id."""
    for checkpoint in a_run("run/1"):
        DjangoCheckpointer().save(checkpoint)
    return "run/1"
