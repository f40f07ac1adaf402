"""What a built-in plugin is: functions, and for which writes each is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moorings_core.api.cache import Cache
from moorings_core.ports.cluster import ClusterConfig

from .attributes import Attributes, Operation


@dataclass(frozen=True, slots=True)
class World:
    """What plugins look at."""

    cache: Cache
    config: ClusterConfig


Function = Callable[[World, Attributes], None]
ANY = "*"


@dataclass(frozen=True, slots=True)
class Step:
    """A function and the writes that it is called for. resource: (group, plural), None for all; subresource "*" is any or none."""

    function: Function
    operations: tuple[Operation, ...]
    resource: tuple[str, str] | None
    subresources: tuple[str, ...] = ("",)

    def concerns(self, operation: str, resource: tuple[str, str], subresource: str) -> bool:
        """Whether it is called for a write."""
        fits = self.resource is None or self.resource == resource
        return fits and operation in self.operations and (subresource in self.subresources or ANY in self.subresources)
