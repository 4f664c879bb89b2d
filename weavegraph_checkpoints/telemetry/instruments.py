"""OpenTelemetry's tracer and instruments. Only ``telemetry`` imports this module."""

from __future__ import annotations

from opentelemetry import metrics, trace

from weavegraph_checkpoints import __version__

SCOPE = "weavegraph_checkpoints"
PREFIX = "weavegraph.checkpoint."
DURATION_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)
"""Upper bounds of the histogram of durations, in seconds."""
SIZE_BUCKETS = tuple(256 * 4**power for power in range(9))
"""Upper bounds of the histogram of sizes, in bytes: 256 B to 16 MiB."""


class Instruments:
    """The tracer and the meter's instruments, of the global providers by default."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self.tracer = trace.get_tracer(SCOPE, __version__, tracer_provider)
        meter = metrics.get_meter(SCOPE, __version__, meter_provider)
        self.duration = create_histogram(
            meter, "duration", "s", "Duration of the calls of the service", DURATION_BUCKETS
        )
        self.state_size = create_histogram(
            meter, "state.size", "By", "Size of the saved states as JSON", SIZE_BUCKETS
        )
        self.saves = _create_counter(meter, "saves", "save", "Saved steps")
        self.conflicts = _create_counter(
            meter, "conflicts", "conflict", "Saves refused because another one came first"
        )
        self.retries = _create_counter(
            meter, "retries", "retry", "Retries after a deadlock or serialization failure"
        )
        self.pruned_steps = _create_counter(
            meter, "pruned_steps", "step", "Steps deleted by retention policies"
        )


def _create_counter(meter: metrics.Meter, name: str, unit: str, text: str) -> metrics.Counter:
    return meter.create_counter(PREFIX + name, f"{{{unit}}}", text)


def create_histogram(
    meter: metrics.Meter, name: str, unit: str, text: str, buckets: tuple[float, ...]
) -> metrics.Histogram:
    """Return a histogram, with these upper bounds if the API can suggest them to the SDK."""
    name = PREFIX + name
    try:
        return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=buckets)
    except TypeError:
        # Before version 1.30, the API has no such argument.
        return meter.create_histogram(name, unit, text)
