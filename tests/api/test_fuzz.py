"""Schemathesis against a live server: no 500, and every response conforms to the schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from drf_spectacular.generators import SchemaGenerator

from tests.api.live import build_auth_header
from tests.builders import save_history, wrong_snapshots
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer

SECONDS = os.environ.get("WEAVEGRAPH_FUZZ_SECONDS")
"""How long to run; by default, a few examples of each call."""
SEED = os.environ.get("WEAVEGRAPH_FUZZ_SEED", "1")

EXAMPLES = "5" if connection.vendor == "sqlite" else "2"

# Valid parameters may be invalid together: a step that is not after the expected one. OpenAPI 3.0
# has no patterns for the keys of an object, such as those of labels. HTTP ignores unknown headers,
# which are tried as invalid where the schema names a header.
CONFIG = """
[[operations]]
include-operation-id = "weavegraph_save_step"

[operations.checks.positive_data_acceptance]
enabled = false

[[operations]]
include-operation-id = "weavegraph_update_session"

[operations.checks.positive_data_acceptance]
enabled = false

[[operations]]
include-operation-id = "weavegraph_stream_events"

[operations.checks.negative_data_rejection]
enabled = false
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(900)
def test_every_response_conforms_to_the_schema(
    live_server: Any, tmp_path: Path, settings: Any
) -> None:
    settings.WEAVEGRAPH_CHECKPOINTS = {"EVENTS_MAX_SECONDS": 1}
    save_history(DjangoCheckpointer(), "run-1", range(5))
    DjangoCheckpointer().set_labels("run-1", {"customer": "4711"})
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SchemaGenerator().get_schema(request=None, public=True)))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    briefly = [
        "--phases",
        "examples,fuzzing",
        "--max-examples",
        EXAMPLES,
        "--generation-deterministic",
    ]
    at_length = ["--max-time", str(SECONDS), "--seed", SEED, "--generation-database", "none"]
    effort = at_length if SECONDS else briefly
    signed_in = build_auth_header()["Authorization"]
    run = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            str(schema),
            "--url",
            live_server.url,
            "--header",
            f"Authorization: {signed_in}",
            # It forges a cookie, but the header of the run authenticates anyway.
            "--exclude-checks",
            "ignored_auth",
            "--no-color",
            "--continue-on-failure",
            *effort,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert wrong_snapshots() == []
