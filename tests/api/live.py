"""HTTP connections to a live server."""

from __future__ import annotations

import http.client
import json
from base64 import b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.api.clients import ALL, create_user

PASSWORD = "a-password"


def build_auth_header(*permissions: str) -> dict[str, str]:
    """Create a user with these permissions; return their Basic authentication header."""
    user = create_user(*(permissions or ALL), password=PASSWORD)
    token = b64encode(f"{user.get_username()}:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


@dataclass
class Answer:
    """The response of a server."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A persistent connection to a live server."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        address = urlsplit(url)
        self.http = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        self.headers = headers

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request, and read the whole response."""
        sent = {**self.headers, **headers}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        self.http.request(method, path, body, sent)
        response = self.http.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
