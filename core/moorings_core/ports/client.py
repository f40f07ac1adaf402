"""The Kubernetes API as every component sees it. Implemented in process (no JSON in between) and over HTTPS.

Every failure is an `errors.ApiError`. Selectors are strings in the API's own syntax ("app=web,tier!=db").
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from .errors import ApiError
from .objects import Object, Resource

PatchType = Literal["json", "merge", "strategic", "apply"]
Propagation = Literal["", "Background", "Foreground", "Orphan"]


class ObjectList(NamedTuple):
    """One page of a list; `version` is the resourceVersion to watch from, `continue_` is "" on the last page."""

    items: Sequence[Object]
    version: str
    continue_: str = ""


class WatchEvent(NamedTuple):
    """type is ADDED, MODIFIED, DELETED or BOOKMARK (whose object carries nothing but its resourceVersion)."""

    type: str
    object: Object


@dataclass(frozen=True, slots=True)
class Create:
    """Create `object`; a subresource (e.g. "binding", "eviction") is created under `name`."""

    resource: Resource
    object: Object
    subresource: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """Replace an object; with a metadata.resourceVersion in it only if that is still the stored one."""

    resource: Resource
    object: Object
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """Change part of an object. patch is a JSON tree: a list of operations for "json", an object otherwise."""

    resource: Resource
    namespace: str
    name: str
    patch: Object | Sequence[Object]
    type: PatchType = "merge"
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object; with uid only that incarnation of it, with version only as it was. grace: seconds; None: as the object says."""

    resource: Resource
    namespace: str
    name: str
    uid: str = ""
    grace: int | None = None
    propagation: Propagation = ""
    version: str = ""


Write = Create | Update | Patch | Delete


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Who calls: the name that managedFields and audit records show."""

    user_agent: str = "moorings"
    headers: Mapping[str, str] = field(default_factory=dict)


class Client(Protocol):
    """What a component may do with the API."""

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """Return one object. Raises NotFound."""

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> ObjectList:
        """Return the newest state of a collection, of all namespaces when namespace is ""."""

    def watch(
        self, resource: Resource, namespace: str = "", *, since: str, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Yield every change after resourceVersion `since`, in order; ends when the server closes the stream.

        Raises Expired when `since` is older than the history.
        """

    async def create(self, resource: Resource, obj: Object, *, subresource: str = "", name: str = "") -> Object:
        """Create and return an object. Raises AlreadyExists, Invalid, Forbidden."""

    async def update(self, resource: Resource, obj: Object, *, subresource: str = "") -> Object:
        """Replace and return an object. Raises NotFound, Conflict, Invalid."""

    async def patch(
        self,
        resource: Resource,
        name: str,
        namespace: str,
        patch: Object | Sequence[Object],
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Object:
        """Change part of an object and return the whole."""

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace: int | None = None,
        propagation: Propagation = "",
        version: str = "",
    ) -> None:
        """Delete an object. Raises NotFound, and Conflict when uid or version is not the stored one's."""

    async def commit(self, writes: Sequence[Write]) -> Sequence[Object | ApiError]:
        """Do many independent writes at once; each has its own result or error, in order. In process it is one store commit."""

    async def close(self) -> None:
        """Release connections. Watches end."""
