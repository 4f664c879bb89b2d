"""Examples of request and response bodies in the OpenAPI schema."""

from __future__ import annotations

from typing import Any

_URL = "https://example.com/api/sessions/"

EXAMPLE_CHECKPOINT: dict[str, Any] = {
    "state": {
        "messages": {"version": 1, "items": [{"role": "user", "content": "Find the bug."}]},
        "extra": {"version": 1, "map": {"budget": 0.25}},
        "errors": {"version": 1, "items": []},
    },
    "frontier": ["Custom:search"],
    "versions_seen": {"Start": {"messages": 1}},
    "concurrency_limit": 4,
    "created_at": "2026-05-04T10:00:01Z",
    "ran_nodes": ["Start"],
    "skipped_nodes": [],
    "updated_channels": ["messages"],
}
"""An example of the request body of a save."""

EXAMPLE_PATCH: dict[str, Any] = {"labels": {"customer": "4711", "env": "prod", "draft": None}}
"""An example of the request body of a change of labels."""

EXAMPLE_SAVED = {"session_id": "run-1", "step": 1, "url": f"{_URL}run-1/steps/1/"}
EXAMPLE_LOADED_CHECKPOINT = {**EXAMPLE_SAVED, **EXAMPLE_CHECKPOINT}
EXAMPLE_SESSION = {
    "id": "run-1",
    "url": f"{_URL}run-1/",
    "owner": "",
    "status": "resumable",
    "concurrency_limit": 4,
    "created_at": "2026-05-04T10:00:01.250000Z",
    "updated_at": "2026-05-04T10:00:01.250000Z",
    "last_step": 1,
    "revision": 1,
    "last_message_count": 1,
    "last_error_count": 0,
    "last_state_bytes": 160,
    "last_frontier": ["Custom:search"],
    "forked_from": "",
    "forked_at_step": None,
    "labels": {"customer": "4711", "env": "prod"},
}
EXAMPLE_FORK = {
    **EXAMPLE_SESSION,
    "id": "fork",
    "url": f"{_URL}fork/",
    "forked_from": "run-1",
    "forked_at_step": 1,
}
