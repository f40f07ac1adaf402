"""Figures that the parts of a process can tell, asked for only when somebody reads /metrics; then written as Prometheus' text.

The library that writes them costs an agent memory for as long as it lives, so it is imported at the first reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple


class Measure(NamedTuple):
    """One value; a counter's name is without "_total"."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...]
    value: float
    kind: Literal["counter", "gauge"] = "counter"
    at: float | None = None
    """When it was so, in seconds since 1970; None: now"""


Source = Callable[[], Iterable[Measure]]
_sources: list[Source] = []


@contextmanager
def told_by(source: Source) -> Iterator[None]:
    """Let a source, which may block for milliseconds, be asked while this is open."""
    _sources.append(source)
    try:
        yield
    finally:
        _sources.remove(source)


def text() -> bytes:
    """Return all measures, and the process's own, as Prometheus' text. Blocking."""
    return written((measure for source in list(_sources) for measure in source()), process=True)


def written(measures: Iterable[Measure], *, process: bool = False) -> bytes:
    """Return measures as Prometheus' text; process: the process's own, too. Blocking."""
    from prometheus_client import CollectorRegistry, generate_latest, process_collector
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    registry = CollectorRegistry()
    if process:
        process_collector.ProcessCollector(registry=registry)
    families: dict[str, Any] = {}
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
    for measure in measures:
        names = [name for name, _ in measure.labels]
        family = families.setdefault(measure.name, kinds[measure.kind](measure.name, measure.help, labels=names))
        family.add_metric([value for _, value in measure.labels], measure.value, timestamp=measure.at)

    class Told:
        def collect(self) -> Iterable[Any]:
            return families.values()

    registry.register(Told())
    return generate_latest(registry)
