"""Metrics of the API under upstream's names, so that existing dashboards work."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .audit.log import AuditLog
from .paths import Target

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
ENDLESS = ("watch", "connect")
CODES = {code: str(code) for code in (200, 201, 404, 409)}
LABELS = ("verb", "group", "version", "resource", "subresource", "scope")


class Requests(Collector):
    """Counts and times requests in plain numbers: a library's counters, each with its lock, cost more than many a request.

    Everything happens on the event loop, the reading, too.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, ...], _Series] = {}

    def count(self, labels: tuple[str, ...], seconds: float | None) -> None:
        """Note a request that was answered; labels: LABELS and the status. seconds: None where its duration says nothing."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = _Series()
        found.count += 1
        if seconds is not None:
            found.seconds += seconds
            found.buckets[bisect_left(BUCKETS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the two families."""
        total = CounterMetricFamily("apiserver_request", "Requests", labels=[*LABELS, "code"])
        timed: dict[tuple[str, ...], _Series] = defaultdict(_Series)
        for labels, series in self._series.items():
            total.add_metric(labels, series.count)
            if any(series.buckets):
                timed[labels[:-1]].add(series)
        yield total
        durations = HistogramMetricFamily("apiserver_request_duration_seconds", "Request durations", labels=LABELS)
        for labels, series in timed.items():
            bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
            durations.add_metric(labels, list(zip(bounds, accumulate(series.buckets), strict=True)), series.seconds)
        yield durations


class _Series:
    __slots__ = ("buckets", "count", "seconds")

    def __init__(self) -> None:
        self.count, self.seconds, self.buckets = 0, 0.0, [0] * (len(BUCKETS) + 1)

    def add(self, other: _Series) -> None:
        """Add another's durations."""
        self.seconds += other.seconds
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]


class Metrics:
    """What the API server tells of itself."""

    def __init__(self) -> None:
        self.registry = self._registry = CollectorRegistry()
        self.looks: list[Callable[[], None]] = []
        """Called before the metrics are read, by whoever has values to bring"""
        self._requests = Requests()
        self._registry.register(self._requests)
        self.loop_lag = Gauge("moorings_event_loop_lag_seconds", "Longest recent stall of the event loop", registry=self._registry)

    def answered(self, start: float, verb: str, target: Target | None, status: int) -> None:
        """Note a request that began at `start` (perf_counter) and is answered."""
        code = CODES.get(status) or str(status)
        if target is None:
            labels = (verb.upper(), "", "", "", "", "", code)
        else:
            scope = "resource" if target.name else "namespace" if target.namespace else "cluster"
            labels = (verb.upper(), target.group, target.version, target.plural, target.subresource, scope, code)
        self._requests.count(labels, None if verb in ENDLESS else time.perf_counter() - start)

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
