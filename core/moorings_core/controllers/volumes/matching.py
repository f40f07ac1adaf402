"""Which volume a claim gets: the one reserved for it, else the smallest that is free and fits."""

from __future__ import annotations

from collections.abc import Iterable

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import parse
from moorings_core.registry.selectors import from_label_selector


def find_volume(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """Return the best volume for an unbound claim, or None."""
    candidates = []
    for volume in volumes:
        if is_reserved_for(volume, claim):
            if fits(claim, volume):
                return volume
        elif "claimRef" not in volume["spec"] and is_free(volume) and fits(claim, volume) and is_wanted(claim, volume):
            candidates.append(volume)
    return min(candidates, key=lambda v: (parse(v["spec"]["capacity"]["storage"]), v["metadata"]["name"]), default=None)


def is_reserved_for(volume: Object, claim: Object) -> bool:
    """Whether the volume names this claim; without a uid in the reference any claim of that name will do."""
    reference, metadata = volume["spec"].get("claimRef"), claim["metadata"]
    if not reference or (reference.get("name"), reference.get("namespace")) != (metadata["name"], metadata["namespace"]):
        return False
    return reference.get("uid") in (None, "", metadata["uid"])


def is_free(volume: Object) -> bool:
    """Whether nobody has the volume and it is here to stay."""
    return volume.get("status", {}).get("phase") == "Available" and "deletionTimestamp" not in volume["metadata"]


def fits(claim: Object, volume: Object) -> bool:
    """Whether size, mode and access of the volume are enough for the claim."""
    spec, wanted = volume["spec"], claim["spec"]
    request = wanted.get("resources", {}).get("requests", {}).get("storage", "0")
    return (
        spec.get("volumeMode", "Filesystem") == wanted.get("volumeMode", "Filesystem")
        and parse(str(spec["capacity"]["storage"])) >= parse(str(request))
        and set(wanted.get("accessModes", ())) <= set(spec.get("accessModes", ()))
    )


def is_wanted(claim: Object, volume: Object) -> bool:
    """Whether class and selector of the claim allow the volume."""
    if volume["spec"].get("storageClassName", "") != (claim["spec"].get("storageClassName") or ""):
        return False
    selector = claim["spec"].get("selector")
    return selector is None or from_label_selector(selector).matches(volume["metadata"].get("labels", {}))
