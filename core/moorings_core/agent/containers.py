"""The containers of a pod. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from moorings_core.ports.objects import Object


def containers_of(pod: Object) -> Iterator[Object]:
    """Yield every container of a pod: initial, regular, ephemeral."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod["spec"].get(kind) or ()


def container_named(pod: Object, name: str) -> Object | None:
    """Return a container of a pod, or None."""
    return next((c for c in containers_of(pod) if c["name"] == name), None)
