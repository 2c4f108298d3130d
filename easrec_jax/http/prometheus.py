"""Figures for Prometheus, in a registry of their own."""

from __future__ import annotations

import jax
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)

_compilations = 0


def _count(event: str, duration_secs: float, **_: str | int) -> None:
    global _compilations
    _compilations += event == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_count)


class Metrics:
    """What a service counts. Labels take few values: paths are those of the API, never what a client sent."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("easrec_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "easrec_request_seconds",
            "From a request's arrival to its answer",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge("easrec_requests_in_flight", "Requests not answered yet", registry=registry)
        self.waiting = Gauge("easrec_users_waiting", "Users that wait for the device or are on it", registry=registry)
        self.batch = Histogram("easrec_batch_users", "Users of one batch", buckets=ROWS, registry=registry)
        self.unknown = Counter("easrec_unknown_items", "Item ids that the model does not know", registry=registry)
        self.sessions = Gauge("easrec_sessions", "Sessions in memory", registry=registry)
        self.evicted = Gauge("easrec_sessions_evicted", "Sessions that gave way before they expired", registry=registry)
        compilations = Gauge("easrec_compilations", "Programs compiled; does not grow once ready", registry=registry)
        compilations.set_function(lambda: _compilations)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
