"""What Prometheus reads at ``/metrics``: numbers only, nothing of the pictures."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServerMetrics:
    """Counts since the start of the server.

    Args:
        waiting: Pictures under way now.
        held: Bytes of requests in memory now.
    """

    def __init__(self, waiting: Callable[[], float], held: Callable[[], float]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "headstart_requests_total", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "headstart_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._pictures = Counter(
            "headstart_pictures_total", "Pictures answered.", ["status"], registry=self._registry
        )
        self._batches = Histogram(
            "headstart_batch_size", "Pictures per forward pass.", buckets=SIZES, registry=self._registry
        )
        for name, words, function in (
            ("headstart_queue_depth", "Pictures under way.", waiting),
            ("headstart_held_bytes", "Bytes of requests in memory.", held),
        ):
            Gauge(name, words, registry=self._registry).set_function(function)

    def request(self, route: str, status: int, seconds: float) -> None:
        """A request is answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def picture(self, status: str) -> None:
        """A picture is answered: ok, or why not."""
        self._pictures.labels(status).inc()

    def batch(self, size: int) -> None:
        """A batch goes through the network."""
        self._batches.observe(size)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self._registry)
