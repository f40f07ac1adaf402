"""Metrics of the API under upstream's names, so that existing dashboards work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from .audit.log import AuditLog
from .paths import Target

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
LABELS = ("verb", "group", "version", "resource", "subresource", "scope")


class Metrics:
    """Counts and times requests."""

    def __init__(self) -> None:
        self.registry = self._registry = CollectorRegistry()
        self.looks: list[Callable[[], None]] = []
        """Called before the metrics are read, by whoever has values to bring"""
        self._total = Counter("apiserver_request", "Requests", (*LABELS, "code"), registry=self._registry)
        self._seconds = Histogram(
            "apiserver_request_duration_seconds", "Request durations", LABELS, registry=self._registry, buckets=BUCKETS
        )
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._timers: dict[tuple[str, ...], Histogram] = {}
        self.loop_lag = Gauge("moorings_event_loop_lag_seconds", "Longest recent stall of the event loop", registry=self._registry)

    def started(self) -> Callable[[str, Target | None, int], None]:
        """Start timing a request; call the result with verb, target and status when it is answered."""
        start = time.perf_counter()

        def done(verb: str, target: Target | None, status: int) -> None:
            if target is None:
                labels = (verb.upper(), "", "", "", "", "")
            else:
                scope = "resource" if target.name else "namespace" if target.namespace else "cluster"
                labels = (verb.upper(), target.group, target.version, target.plural, target.subresource, scope)
            self._counter((*labels, str(status))).inc()
            if verb not in ("watch", "connect"):
                self._timer(labels).observe(time.perf_counter() - start)

        return done

    def _counter(self, labels: tuple[str, ...]) -> Counter:
        """Looking a child up in the library costs more than counting."""
        found = self._counters.get(labels)
        if found is None:
            found = self._counters[labels] = self._total.labels(*labels)
        return found

    def _timer(self, labels: tuple[str, ...]) -> Histogram:
        found = self._timers.get(labels)
        if found is None:
            found = self._timers[labels] = self._seconds.labels(*labels)
        return found

    def count_audit(self, audit: AuditLog) -> None:
        """Show what the audit log has written and lost."""
        self._registry.register(_AuditCounts(audit))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        for look in self.looks:
            look()
        return generate_latest(self._registry)


class _AuditCounts(Collector):
    """The log counts by itself, in the thread that writes."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counters."""
        yield CounterMetricFamily("apiserver_audit_event", "Audit events written", value=self._audit.written)
        lost = CounterMetricFamily("apiserver_audit_error", "Audit events lost", labels=["plugin"])
        lost.add_metric(["log"], self._audit.lost)
        yield lost
