"""Puts requests through the priority levels that the stored objects describe.

A request of a client that was seen before costs a look-up and two additions. Watches hold a seat only until they begin; streams of pods
and proxied requests none. Components in this process don't pass here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moorings_core.api.cache import Cache, Change
from moorings_core.api.context import User
from moorings_core.api.paths import Target
from moorings_core.log import get_logger
from moorings_core.ports.errors import TooManyRequests
from moorings_core.ports.objects import Object

from .born import GROUP
from .fairness import Full, Level, Limits, Queue
from .rules import Asked, flow_of, matches, order

log = get_logger(__name__)
SEATS = 600
"""Requests at once: upstream's 400 reads and 200 writes"""
WAIT_SECONDS = 15.0
REMEMBERED = 10_000
LONG_RUNNING = ("exec", "attach", "portforward", "proxy", "log")
SCHEMA_HEADER, LEVEL_HEADER = "X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"
Names = tuple[str, str]


@dataclass(slots=True)
class Flow:
    """Where requests of one kind go: the schema, the level, and what their answers say of it."""

    level: Level
    hash: int
    headers: Mapping[str, str]
    dispatched: Counter
    names: Names


@dataclass(slots=True)
class Seat:
    """A request's place; leave it when the request is done."""

    flow: Flow | None = None
    queue: Queue | None = None
    since: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)

    def leave(self) -> None:
        """Let the next one in."""
        if self.flow is not None:
            seconds = time.monotonic() - self.since if self.queue is not None else 0.0
            self.flow.level.leave(self.queue, seconds)
            self.flow = None


class FlowMetrics:
    """Counts under upstream's names."""

    def __init__(self, registry: CollectorRegistry, levels: Mapping[str, Level]) -> None:
        labels, prefix = ("priority_level", "flow_schema"), "apiserver_flowcontrol_"
        self.dispatched = Counter(f"{prefix}dispatched_requests", "Requests let in", labels, registry=registry)
        self.rejected = Counter(f"{prefix}rejected_requests", "Requests refused", (*labels, "reason"), registry=registry)
        self.waited = Histogram(f"{prefix}request_wait_duration_seconds", "Time in queues", (*labels, "execute"), registry=registry)
        self._levels = levels
        self._executing, self._queued, self._limit, self._nominal = (
            Gauge(f"{prefix}{name}", text, ("priority_level",), registry=registry)
            for name, text in (
                ("current_executing_seats", "Seats taken"),
                ("current_inqueue_seats", "Seats waited for"),
                ("current_limit_seats", "Seats that may be taken"),
                ("nominal_limit_seats", "Seats by configuration"),
            )
        )

    def look(self) -> None:
        """Take the levels' present state in, before it is read."""
        for name, level in self._levels.items():
            self._executing.labels(name).set(level.executing)
            self._queued.labels(name).set(level.queued)
            self._limit.labels(name).set(level.limits.seats or 0)
            self._nominal.labels(name).set(level.limits.seats or 0)


class FlowControl:
    """All levels and schemas of one cluster."""

    def __init__(self, cache: Cache, registry: CollectorRegistry, seats: int = SEATS) -> None:
        self._cache, self._seats = cache, seats
        self._levels: dict[str, Level] = {}
        self._schemas: list[Object] = []
        self._uids: dict[str, str] = {}
        self._flows: dict[tuple[object, ...], Flow | None] = {}
        self.metrics = FlowMetrics(registry, self._levels)

    def start(self) -> None:
        """Follow the objects; call once the cache is loaded."""
        for plural in ("flowschemas", "prioritylevelconfigurations"):
            self._cache.collection(GROUP, plural).listeners[self._observe] = None
        self._configure()

    async def enter(self, user: User, verb: str, target: Target | None, path: str) -> Seat:
        """Return a request's seat, waiting for it if need be. Raises TooManyRequests."""
        if target is not None and target.subresource in LONG_RUNNING:
            return Seat()
        flow = self._flow(user, verb, target, path)
        if flow is None:
            return Seat()
        if flow.level.enter_now():
            flow.dispatched.inc()
            return Seat(flow, headers=flow.headers)
        before = time.monotonic()
        try:
            queue = await flow.level.enter(flow.hash, WAIT_SECONDS)
        except Full as full:
            self.metrics.rejected.labels(*flow.names, full.reason).inc()
            error = TooManyRequests("Too many requests, please try again later.", details={"retryAfterSeconds": 1})
            raise error from full
        now = time.monotonic()
        self.metrics.waited.labels(*flow.names, "true").observe(now - before)
        flow.dispatched.inc()
        return Seat(flow, queue, now, flow.headers)

    def _flow(self, user: User, verb: str, target: Target | None, path: str) -> Flow | None:
        where = (target.group, target.plural, target.subresource, target.namespace) if target is not None else path
        key = (user.name, user.groups, verb, where)
        try:
            return self._flows[key]
        except KeyError:
            pass
        if len(self._flows) >= REMEMBERED:
            self._flows.clear()
        found = self._flows[key] = self._find(Asked(user, verb, target, path))
        return found

    def _find(self, asked: Asked) -> Flow | None:
        for schema in self._schemas:
            name = schema["spec"]["priorityLevelConfiguration"]["name"]
            level = self._levels.get(name)
            if level is not None and matches(schema, asked):
                headers = {SCHEMA_HEADER: schema["metadata"]["uid"], LEVEL_HEADER: self._uids[name]}
                names = (name, schema["metadata"]["name"])
                return Flow(level, flow_of(schema, asked), headers, self.metrics.dispatched.labels(*names), names)
        return None

    def _observe(self, change: Change) -> None:
        try:
            self._configure()
        except (KeyError, TypeError, ValueError):
            log.exception("flow control not configured", object=change.key.name)

    def _configure(self) -> None:
        """Make levels and schemas what the objects say; a level that is gone lets its last requests finish."""
        self._flows.clear()
        specs = {s.object["metadata"]["name"]: s.object for s in self._cache.collection(GROUP, "prioritylevelconfigurations").select()}
        self._uids.update({name: obj["metadata"]["uid"] for name, obj in specs.items()})
        total = sum(_shares(obj) for obj in specs.values()) or 1
        for name in [n for n in self._levels if n not in specs]:
            del self._levels[name]
        for name, obj in specs.items():
            limits = limits_of(obj, self._seats, total)
            known = self._levels.get(name)
            if known is None:
                self._levels[name] = Level(limits)
            elif known.limits != limits:
                known.limit(limits)
        self._schemas = sorted((s.object for s in self._cache.collection(GROUP, "flowschemas").select()), key=order)


def _shares(level: Object) -> int:
    return int((level["spec"].get("limited") or {}).get("nominalConcurrencyShares", 30)) if level["spec"]["type"] == "Limited" else 0


def limits_of(level: Object, seats: int, shares: int) -> Limits:
    """Return the limits of a level that has its share of all seats."""
    spec = level["spec"]
    if spec["type"] == "Exempt":
        return Limits(None)
    own = -(-seats * _shares(level) // shares)
    response = (spec.get("limited") or {}).get("limitResponse") or {}
    if response.get("type") != "Queue":
        return Limits(own)
    queuing = response.get("queuing") or {}
    return Limits(own, queuing.get("queues", 64), queuing.get("handSize", 8), queuing.get("queueLengthLimit", 50))
