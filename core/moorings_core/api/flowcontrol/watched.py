"""Which watches there are, by what they are of: a write wakes those that may be interested.

Selectors have to be looked at when there is a change, so they don't count, but for those that name one object, and one node of pods: most
of those watches sleep through a change. Source: apiserver pkg/util/flowcontrol/watch_tracker.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from moorings_core.api.paths import Target
from moorings_core.registry.selectors import FieldSelector, parse_fields

NODE = "spec.nodeName"
Place = tuple[str, str, str, str]
"""group, plural, namespace, name; the last two "" for all"""


class Watched:
    """Counts watches."""

    def __init__(self) -> None:
        self._counts: Counter[Place] = Counter()

    @contextmanager
    def watching(self, target: Target, query: Mapping[str, str]) -> Iterator[None]:
        """Count a watch as long as it is served."""
        place = _place(target, query.get("fieldSelector", ""))
        if place is None:
            yield
            return
        self._counts[place] += 1
        try:
            yield
        finally:
            self._counts[place] -= 1
            if not self._counts[place]:
                del self._counts[place]

    def interested(self, target: Target) -> int:
        """Return how many watches a write wakes."""
        kind = (target.group, target.plural)
        places = {(*kind, "", ""), (*kind, target.namespace, "")}
        if target.name:
            places.add((*kind, target.namespace, target.name))
        return sum(self._counts[place] for place in places)


def _place(target: Target, fields: str) -> Place | None:
    """Return what a watch is of, or None where nearly all changes pass it by."""
    try:
        selector = parse_fields(fields)
    except ValueError:
        selector = FieldSelector()
    if target.plural == "pods" and selector.requires(NODE):
        return None
    return target.group, target.plural, target.namespace, target.name or selector.requires("metadata.name") or ""
