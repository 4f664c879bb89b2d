"""The global providers are used, whether they are set before the app is imported or later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROVIDERS = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
"""
SET_UP = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["weavegraph_checkpoints"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()
from django.core.management import call_command
from weavegraph_checkpoints import Checkpoint, VersionedState
from weavegraph_checkpoints.checkpointer import DjangoCheckpointer
call_command("migrate", verbosity=0)
"""
SAVE = """
DjangoCheckpointer().save(
    Checkpoint(session_id="s", step=1, state=VersionedState(), frontier=[], versions_seen={})
)
(resource,) = reader.get_metrics_data().resource_metrics
print(*(span.name for span in exporter.get_finished_spans()))
print(*sorted(metric.name for scope in resource.scope_metrics for metric in scope.metrics))
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_global_providers(order: str) -> None:
    parts = [PROVIDERS, SET_UP] if order == "before" else [SET_UP, PROVIDERS]
    code = "".join([*parts, SAVE])
    environment = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    spans, metrics = done.stdout.splitlines()
    assert spans == "weavegraph.checkpoint.save"
    assert metrics.replace("weavegraph.checkpoint.", "") == "duration saves state.size"
