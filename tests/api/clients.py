"""Test clients with the given permissions, URLs of the API and assertions on errors."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from itertools import count
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

SESSIONS = "/api/sessions/"
ALL = (
    "view_session",
    "add_session",
    "change_session",
    "delete_session",
    "add_step",
    "change_step",
)

_numbers = count(1)


def create_user(*permissions: str, **fields: Any) -> User:
    """Create a user with these permissions of the app."""
    user = User.objects.create_user(**{"username": f"user-{next(_numbers)}", **fields})
    found = Permission.objects.filter(
        content_type__app_label="weavegraph_checkpoints", codename__in=permissions
    )
    assert found.count() == len(permissions)
    user.user_permissions.set(found)
    return user


def create_client(*permissions: str, **fields: Any) -> Client:
    """Return a client logged in as a new user; exceptions become 500 responses."""
    client = Client(raise_request_exception=False)
    client.force_login(create_user(*permissions, **fields))
    return client


def segment(session_id: str) -> str:
    """Return the path segment of an id that is not plain, encoded without the app's code."""
    return "~" + urlsafe_b64encode(session_id.encode()).decode().rstrip("=")


def session_url(session_id: str, rest: str = "") -> str:
    """Return the path of a session with a plain id, or of an action on it."""
    return f"{SESSIONS}{session_id}/{rest}"


def step_url(session_id: str, step: int) -> str:
    """Return the path of a step."""
    return session_url(session_id, f"steps/{step}/")


def put(client: Client, path: str, body: Any, **extra: Any) -> Any:
    """PUT a body, encoded as JSON unless it is ``bytes``."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.put(path, data, content_type="application/json", **extra)


def post(client: Client, path: str, body: Any) -> Any:
    """POST a body, encoded as JSON unless it is ``bytes``."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, data, content_type="application/json")


def assert_error(response: Any, status: int, code: str, path: str | None = None) -> Any:
    """Assert that a response is this error of the API, and return its body."""
    assert response.status_code == status, response.content[:500]
    assert response["Content-Type"] == "application/json"
    error = response.json()
    assert error["code"] == code, error
    assert isinstance(error["detail"], str)
    assert error["detail"]
    assert error.get("path") == path, error
    return error
