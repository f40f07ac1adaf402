"""kube-proxy's metrics and health, from what the follower says. Source: upstream pkg/proxy/metrics, pkg/proxy/healthcheck."""

from __future__ import annotations

import json
import time
from collections import Counter as Counts
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from moorings_core.ports.objects import Key, Object
from moorings_core.ports.proxy import Delta, ServiceEntry
from moorings_proxy.model import TRIGGERED

FAMILIES = ("IPv4", "IPv6")
SYNC = [0.001 * 2**n for n in range(15)]
PROGRAMMING = [0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 330, 30)]
LATE = 120.0
"""Seconds that changes may wait before the proxy counts as unhealthy: twice kube-proxy's period of syncs and more, as there."""


class Metrics:
    """An observer of a follower (see `follow.Observer`). Both families are served in one step, so they share their figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._durations = {
            name: self._histogram(f"kubeproxy_sync_{name}proxy_rules_duration_seconds", SYNC, text)
            for name, text in (("", "Time of a sync"), ("full_", "Time of a sync of everything"), ("partial_", "Time of a sync of changes"))
        }
        self._programming = self._histogram(
            "kubeproxy_network_programming_duration_seconds", PROGRAMMING, "Time from the change of a pod or Service until it is served"
        )
        self._last = self._gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the last sync succeeded", ["ip_family"])
        self._queued = self._gauge("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When the last sync was due", ["ip_family"])
        self._pending = {k: self._gauge(f"kubeproxy_sync_proxy_rules_{k}_changes_pending", f"Waiting {k} changes") for k in KINDS}
        self._total = {k: self._counter(f"kubeproxy_sync_proxy_rules_{k}_changes", f"All {k} changes") for k in KINDS}
        self._failures = self._counter("kubeproxy_sync_proxy_rules_nftables_sync_failures", "Syncs that the kernel refused", ["ip_family"])
        self._local = self._gauge(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Ports with the policy Local and without an endpoint here",
            ["traffic_policy", "ip_family"],
        )
        self._healthz = self._counter("kubeproxy_proxy_healthz", "Answers of /healthz", ["code"])
        self._livez = self._counter("kubeproxy_proxy_livez", "Answers of /livez", ["code"])
        self._oldest: float | None = None
        self._updated: float | None = None
        self._counts = dict.fromkeys(KINDS, 0)
        self._lonely: dict[Key, Counts[tuple[str, str]]] = {}

    def _histogram(self, name: str, buckets: Collection[float], text: str) -> Histogram:
        return Histogram(name, text, ["ip_family"], buckets=[float(b) for b in buckets], registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Collection[str] = ()) -> Gauge:
        return Gauge(name, text, list(labels), registry=self.registry)

    def _counter(self, name: str, text: str, labels: Collection[str] = ()) -> Counter:
        return Counter(name, text, list(labels), registry=self.registry)

    def queued(self, *, services: int, slices: int) -> None:
        """Count changes that wait."""
        now = time.time()
        self._oldest = self._oldest or now
        for kind, count in zip(KINDS, (services, slices), strict=True):
            self._counts[kind] += count
            self._pending[kind].set(self._counts[kind])
            self._total[kind].inc(count)
        for family in FAMILIES:
            self._queued.labels(family).set(now)

    def synced(self, took: float, *, full: bool, delta: Delta, changes: Collection[Object]) -> None:
        """Note a sync."""
        now, self._oldest = time.time(), None
        self._updated = now
        self._counts = dict.fromkeys(KINDS, 0)
        for kind in KINDS:
            self._pending[kind].set(0)
        self._count(delta, full=full)
        waited = [now - when for piece in changes if (when := _triggered(piece)) is not None]
        for family in FAMILIES:
            for name in ("", "full_" if full else "partial_"):
                self._durations[name].labels(family).observe(took)
            self._last.labels(family).set(now)
            for policy in POLICIES:
                self._local.labels(policy, family).set(sum(counts[policy, family] for counts in self._lonely.values()))
            for seconds in waited:
                self._programming.labels(family).observe(max(seconds, 0))

    def _count(self, delta: Delta, *, full: bool) -> None:
        """Note which services have ports with the policy Local that have no endpoint here: few have."""
        if full:
            self._lonely = {}
        for name, entry in delta.items():
            self._lonely.pop(name, None)
            if entry and (entry.internal_local or entry.external_local) and (counts := _without_local(entry)):
                self._lonely[name] = counts

    def failed(self) -> None:
        """Count a sync that the kernel refused."""
        for family in FAMILIES:
            self._failures.labels(family).inc()

    def page(self) -> bytes:
        """Return the text of /metrics."""
        return generate_latest(self.registry)

    def health(self, *, node: Object | None, live: bool) -> tuple[int, bytes]:
        """Return code and body of /healthz, which asks whether the node is to get traffic, or (live) of /livez, which doesn't."""
        now = time.time()
        in_time = self._updated is not None and (self._oldest is None or now - self._oldest < LATE)
        eligible = node is not None and _is_eligible(node)
        healthy = in_time and (live or eligible)
        code = 200 if healthy else 503
        (self._livez if live else self._healthz).labels(str(code)).inc()
        body = {"lastUpdated": _stamp(now if healthy else self._updated or 0), "currentTime": _stamp(now)}
        rest = {} if live else {"nodeEligible": eligible}
        status = {f: {"lastUpdated": _stamp(self._updated or 0), "healthy": in_time} for f in FAMILIES if self._updated}
        return code, json.dumps(body | rest | {"healthy": healthy, "status": status}).encode()


KINDS = ("service", "endpoint")
POLICIES = ("internal", "external")


def _without_local(entry: ServiceEntry) -> Counts[tuple[str, str]]:
    """Count, by policy and family, the ports that have endpoints and none of them here."""
    counts: Counts[tuple[str, str]] = Counts()
    for family, port in product(FAMILIES, entry.ports):
        here, anywhere = (_has(family, [e.address for e in some]) for some in (port.local_endpoints, port.endpoints))
        if anywhere and not here and _has(family, entry.cluster_ips):
            outside = bool(port.node_port or entry.external_ips or entry.load_balancer_ips)
            counts["internal", family] += entry.internal_local
            counts["external", family] += entry.external_local and outside
    return +counts


def _has(family: str, addresses: Collection[str]) -> bool:
    return any((":" in address) == (family == "IPv6") for address in addresses)


def _triggered(piece: Object) -> float | None:
    text = piece["metadata"].get(TRIGGERED)
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _is_eligible(node: Object) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    return not node["metadata"].get("deletionTimestamp") and not any(t["key"] == "ToBeDeletedByClusterAutoscaler" for t in taints)


def _stamp(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")
