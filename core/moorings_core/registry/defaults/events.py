"""Events as Go writes them: times that nobody gave are null, and empty texts stand."""

from __future__ import annotations

from collections.abc import Callable

from moorings_core.ports.objects import Object


def _core(event: Object) -> None:
    for field in ("eventTime", "firstTimestamp", "lastTimestamp"):
        event.setdefault(field, None)
    event.setdefault("source", {})
    for field in ("reportingComponent", "reportingInstance"):
        event.setdefault(field, "")


def _new(event: Object) -> None:
    for field in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp"):
        event.setdefault(field, None)
    event.setdefault("deprecatedSource", {})


RULES: dict[tuple[str, str], Callable[[Object], None]] = {("", "events"): _core, ("events.k8s.io", "events"): _new}
