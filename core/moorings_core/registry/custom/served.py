"""The custom kinds that this process serves, for whoever holds no more than a resource: columns, selectors, scales.

It is what `api.definitions` makes of the definitions in the store; servers on one store have the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from moorings_core.ports.objects import Resource

if TYPE_CHECKING:
    from .kind import CustomVersion

Place = tuple[str, str, str]
_served: dict[Place, CustomVersion] = {}


def of(resource: Resource) -> CustomVersion | None:
    """Return how a resource is served, or None for a built-in one."""
    return _served.get((resource.group, resource.version, resource.plural)) if _served else None


def replace(gone: Sequence[Place], new: Mapping[Place, CustomVersion]) -> None:
    """Forget some and serve others."""
    for place in gone:
        _served.pop(place, None)
    _served.update(new)
