"""One write as admission sees it. Source: upstream's admission.Attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moorings_core.api import problems
from moorings_core.api.context import Context
from moorings_core.ports.errors import Forbidden
from moorings_core.ports.objects import Key, Object, Resource

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(slots=True)
class Attributes:
    """What is to happen to what, and who wants it.

    object is None for a deletion and may be changed or replaced while the write is being filled in; old is None for a creation and
    never changed. kind is that of the body, which for a subresource may be another than the resource's (a Scale, an Eviction).
    """

    operation: Operation
    resource: Resource
    key: Key
    object: Object | None
    old: Object | None
    context: Context
    subresource: str = ""
    kind: tuple[str, str, str] | None = None

    @property
    def group_version_kind(self) -> tuple[str, str, str]:
        """The group, version and kind of the body."""
        return self.kind or (self.resource.group, self.resource.version, self.resource.kind)

    @property
    def new(self) -> Object:
        """The object of a write that has one."""
        assert self.object is not None, f"a {self.operation} has no object"
        return self.object

    @property
    def name(self) -> str:
        """How answers name the object: one that is to get its name by the server goes by what the name begins with."""
        if self.key.name:
            return self.key.name
        metadata = (self.object or {}).get("metadata") or {}
        return str(metadata.get("name") or metadata.get("generateName") or "Unknown")

    def forbidden(self, why: str) -> Forbidden:
        """Return the answer that refuses this write."""
        return problems.forbidden(self.resource, self.name, why)
