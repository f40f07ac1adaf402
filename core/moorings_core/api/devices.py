"""Who may ask for devices that others use: claims with adminAccess are for namespaces that say so.

Source: upstream's pkg/registry/resource/utils.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.registry.validation.errors import FieldError, Path, forbidden

from .cache import Cache

GROUP, LABEL = "resource.k8s.io", "resource.kubernetes.io/admin-access"
CLAIMS = {"resourceclaims": (), "resourceclaimtemplates": ("spec",)}
"""Kinds that ask for devices, with the way to their claim's spec below their own"""


def admin_access(cache: Cache, resource: Resource, obj: Object) -> list[FieldError]:
    """Return whether a new claim, or template of claims, asks for more than its namespace allows."""
    if resource.group != GROUP or resource.plural not in CLAIMS:
        return []
    spec = obj.get("spec") or {}
    for step in CLAIMS[resource.plural]:
        spec = spec.get(step) or {}
    requests = (spec.get("devices") or {}).get("requests") or ()
    return _refused(cache, obj, "spec.devices.requests", [(r.get("exactly") or {}).get("adminAccess") for r in requests])


def admin_access_given(cache: Cache, resource: Resource, new: Object, old: Object) -> list[FieldError]:
    """Return whether a claim is given more than its namespace allows."""
    if (resource.group, resource.plural) != (GROUP, "resourceclaims") or any(_given(old)):
        return []
    return _refused(cache, new, "status.allocation.devices.results", _given(new))


def _given(claim: Object) -> list[bool | None]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return [result.get("adminAccess") for result in (allocation.get("devices") or {}).get("results") or ()]


def _refused(cache: Cache, obj: Object, where: str, asked: Sequence[bool | None]) -> list[FieldError]:
    if True not in asked:
        return []
    namespace = cache.collection("", "namespaces").get(Key("", obj["metadata"].get("namespace", "")))
    labels = namespace.object["metadata"].get("labels") or {} if namespace is not None else {}
    if labels.get(LABEL) == "true":
        return []
    path = Path(where).at(asked.index(True)) / "adminAccess"
    return [forbidden(path, f"admin access to devices requires the `{LABEL}: true` label on the containing namespace")]
