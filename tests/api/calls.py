"""Every call of the API, for tests that are parametrized over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.test import Client

from tests.api.clients import SESSIONS
from tests.strategies import a_checkpoint
from weavegraph_checkpoints import serde


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call on the sessions ``run`` (steps 1 and 2) and ``other`` (step 1)."""

    name: str
    needs: str
    """The permission that it requires."""
    path: str
    method: str = "get"
    body: bytes | None = None
    status: int = 200
    """The status of a successful response."""

    def by(self, client: Client) -> Any:
        """Make the call."""
        if self.body is None:
            return getattr(client, self.method)(SESSIONS + self.path)
        options = {"data": self.body, "content_type": "application/json"}
        return getattr(client, self.method)(SESSIONS + self.path, **options)

    def __str__(self) -> str:
        return self.name


def _save(name: str, needs: str, path: str, status: int, step: int) -> Call:
    body = serde.dumps(a_checkpoint("run", step))
    return Call(name=name, needs=needs, path=path, method="put", body=body, status=status)


CALLS = [
    Call(name="list", needs="view_session", path=""),
    Call(name="list filtered", needs="view_session", path="?id=run&search=r&owner=ann"),
    Call(name="list by labels", needs="view_session", path="?label=env:test&label=team:x"),
    Call(name="session", needs="view_session", path="run/"),
    Call(name="latest", needs="view_session", path="run/latest/"),
    Call(name="events", needs="view_session", path="run/events/"),
    Call(name="steps", needs="view_session", path="run/steps/"),
    Call(name="steps filtered", needs="view_session", path="run/steps/?fields=step&limit=1"),
    Call(name="step", needs="view_session", path="run/steps/1/"),
    Call(name="diff", needs="view_session", path="run/diff/?from=1&to=2"),
    _save("save new", "add_step", "run/steps/3/", 201, 3),
    _save("save new, checked", "add_step", "run/steps/3/?expected_last_step=2", 201, 3),
    _save("replace", "change_step", "run/steps/1/", 200, 1),
    Call(
        name="fork",
        needs="add_session",
        path="run/fork/",
        method="post",
        body=b'{"target": "fork"}',
        status=201,
    ),
    Call(
        name="labels",
        needs="change_session",
        path="run/",
        method="patch",
        body=b'{"labels": {"env": "test"}}',
    ),
    Call(name="delete", needs="delete_session", path="run/", method="delete", status=204),
]
READS = [call for call in CALLS if call.method == "get"]
