"""Keep spans and metrics in memory, with the exporters of OpenTelemetry's SDK."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from weavegraph_checkpoints.telemetry.instruments import PREFIX, Instruments


@dataclass(frozen=True, kw_only=True)
class Point:
    """A counter, or a histogram, for one set of attributes."""

    attributes: dict[str, Any]
    count: int
    sum: float


class Recording:
    """The providers of a test, and what they have recorded."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        delta = AggregationTemporality.DELTA
        self.reader = InMemoryMetricReader(preferred_temporality={Counter: delta, Histogram: delta})
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.instruments = Instruments(self.tracer_provider, self.meter_provider)
        self.tracer = self.tracer_provider.get_tracer("tests")

    def shut_down(self) -> None:
        """Stop the providers."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()

    def clear(self) -> None:
        """Forget what was recorded."""
        self.exporter.clear()
        self.reader.get_metrics_data()

    @property
    def spans(self) -> list[ReadableSpan]:
        """All finished spans, in the order in which they ended."""
        return list(self.exporter.get_finished_spans())

    @property
    def names(self) -> list[str]:
        """The names of the finished spans, without the prefix of the service."""
        return [span.name.removeprefix(PREFIX) for span in self.spans]

    def only_span(self) -> ReadableSpan:
        """Return the one span that was recorded since ``clear``."""
        (span,) = self.spans
        return span

    def read_metrics(self) -> dict[str, list[Point]]:
        """Return the metrics since the last read, by name without the prefix."""
        data = self.reader.get_metrics_data()
        found: dict[str, list[Point]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name.removeprefix(PREFIX)] = [
                        Point(
                            attributes=dict(point.attributes),
                            count=getattr(point, "count", 1),
                            sum=point.sum if hasattr(point, "sum") else point.value,
                        )
                        for point in metric.data.data_points
                    ]
        return found

    def read_everything(self) -> str:
        """Return all spans and metrics as JSON."""
        data = self.reader.get_metrics_data()
        spans = [json.loads(span.to_json()) for span in self.spans]
        return json.dumps([spans, data and json.loads(data.to_json())])
