"""How an object looks that is being deleted, and what keeps it."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object, Resource

DEPENDENTS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


def finalizers(obj: Object, propagation: str, default: str) -> list[str]:
    """Return the finalizers that keep an object: its own, and what the client, an earlier deletion or the kind says of dependents."""
    given = obj["metadata"].get("finalizers") or ()
    found = [f for f in given if f not in DEPENDENTS.values()]
    earlier = [f for f in given if f in DEPENDENTS.values()]
    if propagation or not earlier:
        earlier = [DEPENDENTS[word] for word in (propagation or default,) if word in DEPENDENTS]
    return [*found, *earlier]


def holds_namespace(resource: Resource, obj: Object) -> bool:
    """Whether a namespace is still to be emptied."""
    is_namespace = (resource.group, resource.plural) == ("", "namespaces")
    return is_namespace and bool(obj.get("spec", {}).get("finalizers"))


def marked(resource: Resource, obj: Object, finalizers: list[str], grace: int) -> Object:
    """Return the object as one that is being deleted; a later deletion may only shorten the time it has."""
    metadata = dict(obj["metadata"])
    if finalizers:
        metadata["finalizers"] = finalizers
    known = metadata.get("deletionGracePeriodSeconds")
    if "deletionTimestamp" not in metadata or (known is not None and grace < known):
        moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=grace)
        metadata["deletionTimestamp"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        if (resource.group, resource.plural) != ("", "namespaces"):
            metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata and known is None:
            metadata["generation"] += 1
    marked = {**obj, "metadata": metadata}
    if (resource.group, resource.plural) == ("", "namespaces"):
        marked["status"] = {**obj.get("status", {}), "phase": "Terminating"}
    return marked


def finished(resource: Resource, obj: Object, subresource: str) -> bool:
    """Whether the last finalizer of an object that is being deleted is gone."""
    metadata = obj["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if (resource.group, resource.plural) == ("", "pods") and metadata.get("deletionGracePeriodSeconds"):
        return False
    return not holds_namespace(resource, obj)
