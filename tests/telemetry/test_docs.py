"""``docs/observability.md`` is true: its code runs, and its names are those of the app."""

from __future__ import annotations

import gzip
import json
import logging.config
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest

from tests.docs.code_blocks import run_block
from tests.docs.markdown import ROOT, names, page, rows
from tests.logs.test_records import RECORDS
from tests.telemetry import test_spans
from weavegraph_checkpoints.telemetry import attributes
from weavegraph_checkpoints.telemetry.instruments import PREFIX, Instruments

PAGE = page("observability")
PYTHON = [block.text for block in PAGE.blocks if block.language == "python"]
QUERIES = [block.text.strip() for block in PAGE.blocks if block.language == "promql"]
YAML = [yaml.safe_load(block.text) for block in PAGE.blocks if block.language == "yaml"]
GROUPS = [group for document in YAML for group in document.get("groups", ())]
ALERTS = [rule for group in GROUPS for rule in group["rules"]]

SAVE = """
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
DjangoCheckpointer().save(
    Checkpoint(session_id="run", step=1, state=VersionedState(), frontier=[], versions_seen={})
)
"""


class Collector(HTTPServer):
    """A server that receives OTLP, and keeps the bodies by path."""

    def __init__(self) -> None:
        self.received: dict[str, list[bytes]] = {}
        super().__init__(("127.0.0.1", 0), _Receive)


class _Receive(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.setdefault(self.path, []).append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


def run(code: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_ten_lines_for_a_collector(collector: Collector) -> None:
    code = PYTHON[0]
    assert len([line for line in code.splitlines() if line]) <= 10
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    run(code + SAVE, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_SERVICE_NAME="agents")
    (body,) = collector.received["/v1/traces"]
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert span.name == "weavegraph.checkpoint.save"
    service = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert service["service.name"] == "agents"
    metrics = {
        metric.name
        for body in collector.received["/v1/metrics"]
        for resource_metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource_metrics.scope_metrics
        for metric in scope.metrics
    }
    assert metrics == {PREFIX + name for name in ("duration", "saves", "state.size")}


def test_the_lines_for_prometheus() -> None:
    code = PYTHON[1]
    assert len([line for line in code.splitlines() if line]) <= 10
    assert "start_http_server(9464)" in code
    # Any free port.
    code = code.replace("start_http_server(9464)", "server, _ = start_http_server(0)")
    read = (
        "import urllib.request\n"
        "url = f'http://127.0.0.1:{server.server_port}/metrics'\n"
        "print(urllib.request.urlopen(url).read().decode())"
    )
    served = run(code + SAVE + read)
    assert re.search(r"^weavegraph_checkpoint_saves_total\{.*\} 1\.0$", served, re.MULTILINE)


@pytest.fixture(scope="module")
def exposed() -> Iterator[str]:
    """Everything that the app may expose to Prometheus."""
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instruments = Instruments(None, provider)
    labels = {
        attributes.OPERATION: "save",
        attributes.DB_SYSTEM: "sqlite",
        attributes.DB_NAMESPACE: "db.sqlite3",
        attributes.ERROR_TYPE: "KeyError",
    }
    for instrument in vars(instruments).values():
        if hasattr(instrument, "record"):
            instrument.record(1, labels)
        elif hasattr(instrument, "add"):
            instrument.add(1, labels)
    yield generate_latest(REGISTRY).decode()
    provider.shutdown()


def test_every_metric_is_documented(exposed: str) -> None:
    table = {names(row[0])[0]: names(row[1])[0] for row in rows(PAGE.section("Metrics"))}
    found = set(re.findall(r"^# TYPE (weavegraph\w+)", exposed, re.MULTILINE))
    assert set(table.values()) == found
    for name, prometheus in table.items():
        assert prometheus.startswith(name.replace(".", "_"))


@pytest.mark.parametrize("query", [*QUERIES, *(alert["expr"] for alert in ALERTS)])
def test_queries_name_metrics_and_labels_that_exist(exposed: str, query: str) -> None:
    series = set(re.findall(r"^(weavegraph\w+)\{", exposed, re.MULTILINE))
    labels = set(re.findall(r'(\w+)="', exposed))
    used = re.findall(r"\b(weavegraph_checkpoint\w+)(?=[\[{]|\s*$)", query)
    assert used
    assert set(used) <= series
    matched = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)
    grouped = [name for group in re.findall(r"by \(([^)]*)\)", query) for name in group.split(", ")]
    assert {*matched, *grouped} <= labels
    assert query.count("(") == query.count(")")


def test_alerts_are_explained() -> None:
    documented = [names(row[0])[0] for row in rows(PAGE.section("Alerts"))]
    assert documented == [alert["alert"] for alert in ALERTS]


def test_every_attribute_is_documented() -> None:
    documented = {names(row[0])[0] for row in rows(PAGE.section("Spans"))}
    known = {
        value
        for value in vars(attributes).values()
        if re.match(r"(weavegraph|db|error)\.", str(value))
    }
    assert documented == known - {attributes.OPERATION}
    assert f"`{attributes.OPERATION}`" in PAGE.section("Metrics")


def test_every_span_is_documented() -> None:
    first = PAGE.section("Spans").split("|")[0]
    calls = {*test_spans.CALLS, *test_spans.OTHER_CALLS}
    calls |= {"collect", "import_history", "export_history"}
    assert set(names(first)) == calls | {PREFIX}


def test_every_record_is_documented() -> None:
    documented = {
        (names(row[0])[0].rpartition(".")[2], row[1]): {
            field
            for other in rows(PAGE.section("Logs"))
            if other[:2] == row[:2]
            for field in names(other[3])
        }
        for row in rows(PAGE.section("Logs"))
    }
    for _act, logger, level, fields in RECORDS.values():
        assert {*fields, "session_id"} <= documented[logger, level]


def test_the_configuration_of_logging() -> None:
    block = next(block for block in PAGE.blocks if "LOGGING" in block.text)
    namespace: dict[str, Any] = {}
    run_block(block, PAGE, namespace)
    logger = logging.getLogger("weavegraph_checkpoints")
    level, handlers = logger.level, list(logger.handlers)
    try:
        logging.config.dictConfig(namespace["LOGGING"])
        assert logger.isEnabledFor(logging.INFO)
        (handler,) = logger.handlers
        record = logging.makeLogRecord(
            {"name": "weavegraph_checkpoints.pruning", "msg": "a\nb", "levelname": "INFO"}
            | {"session_id": "a\nb", "steps": 3}
        )
        assert json.loads(handler.format(record)) == {
            "level": "INFO",
            "logger": "weavegraph_checkpoints.pruning",
            "message": "a\nb",
            "session_id": "a\nb",
            "steps": 3,
        }
        assert "\n" not in handler.format(record)
    finally:
        logger.handlers[:], logger.level = handlers, level
        logging.config.dictConfig({"version": 1, "incremental": True})
