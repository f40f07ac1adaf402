"""Puts requests through the priority levels that the stored objects describe.

A request of a client that was seen before costs a look-up and two additions. Watches hold a seat only until they begin; streams of pods
and proxied requests none. Components in this process don't pass here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from moorings_core.api.cache import Cache, Change
from moorings_core.api.context import User
from moorings_core.api.paths import Target
from moorings_core.log import get_logger
from moorings_core.ports.errors import TooManyRequests
from moorings_core.ports.objects import Object

from . import estimates
from .born import GROUP
from .borrowing import PERIOD, Bounds, bounds, first
from .borrowing import limits as borrowed
from .fairness import Full, Level, Limits, Queue
from .rules import Asked, flow_of, matches, order
from .watched import Watched

log = get_logger(__name__)
SEATS = 600
"""Requests at once: upstream's 400 reads and 200 writes"""
WAIT_SECONDS = 15.0
REMEMBERED = 10_000
LONG_RUNNING = ("exec", "attach", "portforward", "proxy", "log")
SCHEMA_HEADER, LEVEL_HEADER = "X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"
Names = tuple[str, str]
NO_QUERY: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Tally:
    """Requests that one schema has let in."""

    count: int = 0


@dataclass(slots=True)
class Flow:
    """Where requests of one kind go: the schema, the level, and what their answers say of it."""

    level: Level
    hash: int
    headers: Mapping[str, str]
    dispatched: Tally
    names: Names
    most: int = 1
    """Seats that one request may take"""


@dataclass(slots=True)
class Seat:
    """A request's place; leave it when the request is done."""

    flow: Flow | None = None
    queue: Queue | None = None
    since: float = 0.0
    width: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float = 0.0
    """Seconds for which the work that the request has caused goes on after it"""

    def leave(self) -> None:
        """Let the next one in, once all is done."""
        if self.latency:
            seat, self.flow = replace(self, latency=0.0), None
            asyncio.get_running_loop().call_later(self.latency, seat.leave)
            return
        if self.flow is not None:
            seconds = time.monotonic() - self.since if self.queue is not None else 0.0
            self.flow.level.leave(self.queue, seconds, self.width)
            self.flow = None


NO_SEAT = Seat()
"""For whom no level is: leaving it does nothing"""


class Dispatched(Collector):
    """Counts requests by level and schema in plain numbers, as `metrics.Requests` does, for each request is counted."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self._name, self._labels = name, labels
        self._tallies: dict[Names, Tally] = {}

    def of(self, names: Names) -> Tally:
        """Return where to count what a schema lets in; names: the level's and the schema's."""
        return self._tallies.setdefault(names, Tally())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the family."""
        family = CounterMetricFamily(self._name, "Requests let in", labels=self._labels)
        for names, tally in self._tallies.items():
            family.add_metric(names, tally.count)
        yield family


class FlowMetrics:
    """Counts under upstream's names."""

    def __init__(self, registry: CollectorRegistry, levels: Mapping[str, Level], nominal: Mapping[str, Bounds]) -> None:
        labels, prefix = ("priority_level", "flow_schema"), "apiserver_flowcontrol_"
        self.dispatched = Dispatched(f"{prefix}dispatched_requests", labels)
        registry.register(self.dispatched)
        self.rejected = Counter(f"{prefix}rejected_requests", "Requests refused", (*labels, "reason"), registry=registry)
        self.waited = Histogram(f"{prefix}request_wait_duration_seconds", "Time in queues", (*labels, "execute"), registry=registry)
        self._levels, self._bounds = levels, nominal
        self._executing, self._queued, self._limit, self._nominal, self._lower, self._upper = (
            Gauge(f"{prefix}{name}", text, ("priority_level",), registry=registry)
            for name, text in (
                ("current_executing_seats", "Seats taken"),
                ("current_inqueue_seats", "Seats waited for"),
                ("current_limit_seats", "Seats that may be taken"),
                ("nominal_limit_seats", "Seats by configuration"),
                ("lower_limit_seats", "Seats that are never lent"),
                ("upper_limit_seats", "Seats with all that may be borrowed"),
            )
        )

    def look(self) -> None:
        """Take the levels' present state in, before it is read."""
        for name, level in self._levels.items():
            self._executing.labels(name).set(level.executing)
            self._queued.labels(name).set(level.queued)
            self._limit.labels(name).set(level.limits.seats or 0)
            if (known := self._bounds.get(name)) is not None:
                self._nominal.labels(name).set(known.nominal)
                self._lower.labels(name).set(known.least)
                self._upper.labels(name).set(known.most)


class FlowControl:
    """All levels and schemas of one cluster."""

    def __init__(self, cache: Cache, registry: CollectorRegistry, seats: int = SEATS) -> None:
        self._cache, self._seats = cache, seats
        self._levels: dict[str, Level] = {}
        self._bounds: dict[str, Bounds] = {}
        self._current: dict[str, int] = {}
        """Seats of the levels until the next adjustment"""
        self._schemas: list[Object] = []
        self._uids: dict[str, str] = {}
        self._flows: dict[tuple[object, ...], Flow | None] = {}
        self.watched = Watched()
        self.metrics = FlowMetrics(registry, self._levels, self._bounds)

    def start(self) -> None:
        """Follow the objects; call once the cache is loaded."""
        for plural in ("flowschemas", "prioritylevelconfigurations"):
            self._cache.collection(GROUP, plural).listeners[self._observe] = None
        self._configure()

    async def run(self) -> None:
        """Adjust what levels lend each other, for ever."""
        while True:
            await asyncio.sleep(PERIOD)
            self._adjust()

    async def enter(self, user: User, verb: str, target: Target | None, path: str, query: Mapping[str, str] = NO_QUERY) -> Seat:
        """Return a request's seats, waiting for them if need be. Raises TooManyRequests."""
        if target is not None and target.subresource in LONG_RUNNING:
            return NO_SEAT
        flow = self._flow(user, verb, target, path)
        if flow is None:
            return NO_SEAT
        width, latency = 1, 0.0
        if target is not None and verb in estimates.WRITES:
            width, latency = estimates.after_write(target, self.watched.interested(target), flow.most)
        elif verb in ("list", "watch") and target is not None and flow.most > 1:
            width = estimates.seats(verb, target, query, self._cache.collection(target.group, target.plural), flow.most)
        if flow.level.enter_now(width):
            flow.dispatched.count += 1
            return Seat(flow, width=width, headers=flow.headers, latency=latency)
        before = time.monotonic()
        try:
            queue = await flow.level.enter(flow.hash, WAIT_SECONDS, width)
        except Full as full:
            self.metrics.rejected.labels(*flow.names, full.reason).inc()
            error = TooManyRequests("Too many requests, please try again later.", details={"retryAfterSeconds": 1})
            raise error from full
        now = time.monotonic()
        self.metrics.waited.labels(*flow.names, "true").observe(now - before)
        flow.dispatched.count += 1
        return Seat(flow, queue, now, width, flow.headers, latency)

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
                limits, nominal = level.limits, self._bounds[name].nominal
                most = estimates.most_seats(nominal, limits.hand) if limits.queues else estimates.SEATS_MOST
                return Flow(level, flow_of(schema, asked), headers, self.metrics.dispatched.of(names), names, most)
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
            del self._levels[name], self._bounds[name], self._current[name]
        for name, obj in specs.items():
            known = self._bounds[name] = bounds_of(obj, self._seats, total)
            limits = limits_of(obj, self._current.setdefault(name, first(known)))
            if name in self._levels:
                self._levels[name].limit(limits)
            else:
                self._levels[name] = Level(limits)
        self._schemas = sorted((s.object for s in self._cache.collection(GROUP, "flowschemas").select()), key=order)
        self._adjust()

    def _adjust(self) -> None:
        """Share all seats out anew, by what the levels have wanted since the last time."""
        wanted = {name: level.demand.take(time.monotonic()) for name, level in self._levels.items()}
        for name, seats in borrowed(self._bounds, wanted, self._current).items():
            level, self._current[name] = self._levels[name], seats
            if level.limits.seats not in (None, seats):
                level.limit(replace(level.limits, seats=seats))


def _limited(level: Object) -> Object:
    """Return the part of a level's spec that its type is about."""
    return dict(level["spec"].get("limited" if level["spec"]["type"] == "Limited" else "exempt") or {})


def _shares(level: Object) -> int:
    return int(_limited(level).get("nominalConcurrencyShares", 30 if level["spec"]["type"] == "Limited" else 0))


def bounds_of(level: Object, seats: int, shares: int) -> Bounds:
    """Return the seats of a level that has its share of all."""
    spec, exempt = _limited(level), level["spec"]["type"] == "Exempt"
    nominal = -(-seats * _shares(level) // shares)
    return bounds(nominal, spec.get("lendablePercent"), spec.get("borrowingLimitPercent"), seats, exempt=exempt)


def limits_of(level: Object, seats: int) -> Limits:
    """Return the limits of a level that has these seats now."""
    spec = level["spec"]
    if spec["type"] == "Exempt":
        return Limits(None)
    response = (spec.get("limited") or {}).get("limitResponse") or {}
    if response.get("type") != "Queue":
        return Limits(seats)
    queuing = response.get("queuing") or {}
    return Limits(seats, queuing.get("queues", 64), queuing.get("handSize", 8), queuing.get("queueLengthLimit", 50))
