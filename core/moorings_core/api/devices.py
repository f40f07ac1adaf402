"""Who may ask for devices that others use: claims with adminAccess are for namespaces that say so.

Source: upstream's pkg/registry/resource/utils.go.
"""

from __future__ import annotations

from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.registry.validation.errors import FieldError, Path, forbidden

from .cache import Cache

LABEL = "resource.kubernetes.io/admin-access"
CLAIMS = {"resourceclaims": (), "resourceclaimtemplates": ("spec",)}
"""Kinds that ask for devices, with the way to their claim's spec below their own"""


def admin_access(cache: Cache, resource: Resource, obj: Object) -> list[FieldError]:
    """Return whether a new claim, or template of claims, asks for more than its namespace allows."""
    if resource.group != "resource.k8s.io" or resource.plural not in CLAIMS:
        return []
    spec = obj.get("spec") or {}
    for step in CLAIMS[resource.plural]:
        spec = spec.get(step) or {}
    requests = (spec.get("devices") or {}).get("requests") or ()
    asked = next((i for i, request in enumerate(requests) if (request.get("exactly") or {}).get("adminAccess")), None)
    if asked is None:
        return []
    namespace = cache.collection("", "namespaces").get(Key("", obj["metadata"].get("namespace", "")))
    labels = namespace.object["metadata"].get("labels") or {} if namespace is not None else {}
    if labels.get(LABEL) == "true":
        return []
    path = Path("spec.devices.requests").at(asked) / "adminAccess"
    return [forbidden(path, f"admin access to devices requires the `{LABEL}: true` label on the containing namespace")]
