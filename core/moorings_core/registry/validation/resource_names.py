"""Names and amounts of resources: cpu, requests.storage, example.org/gpu. Each function returns what is wrong, at its path.

Source: upstream's validateResourceName and its neighbours, and pkg/apis/core/helper.
"""

from __future__ import annotations

from moorings_core.ports.objects import Object
from moorings_core.registry.amounts import HUGE_PAGES
from moorings_core.registry.quantity import parse

from . import names
from .errors import FieldError, Path, invalid

REQUESTS, NATIVE = "requests.", "kubernetes.io/"
COMPUTE = ("cpu", "memory", "ephemeral-storage")
COUNTED = (
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)
"""Objects that a quota counts, in whole numbers"""
OF_QUOTAS = (*COMPUTE, *(f"{kind}.{name}" for kind in ("requests", "limits") for name in COMPUTE), "requests.storage", *COUNTED)
STANDARD = (*OF_QUOTAS, "storage")


def is_native(name: str) -> bool:
    """Whether a resource is Kubernetes' own."""
    return "/" not in name or NATIVE in name


def is_extended(name: str) -> bool:
    """Whether a resource is somebody's else, under a name that a quota can have too."""
    return not is_native(name) and not name.startswith(REQUESTS) and not names.label_key(REQUESTS + name)


def may_be_overcommitted(name: str) -> bool:
    """Whether a limit may be more than the request."""
    return is_native(name) and not name.startswith(HUGE_PAGES)


def is_of_quotas(name: str) -> bool:
    """Whether a quota can limit a resource without a prefix."""
    return name in OF_QUOTAS or name.startswith((HUGE_PAGES, REQUESTS + HUGE_PAGES))


def resource(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of a resource."""
    found = [invalid(path, name, complaint) for complaint in names.label_key_complaints(name)]
    if not found and "/" not in name and name not in STANDARD and not is_of_quotas(name):
        found.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return found


def container_resource(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of what a container asks for."""
    found = resource(name, path)
    if "/" not in name:
        if name not in COMPUTE and not name.startswith(HUGE_PAGES):
            found.append(invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        found.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return found


def quota_resource(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of what a quota limits."""
    found = resource(name, path)
    if "/" not in name and not is_of_quotas(name):
        found.append(invalid(path, name, "must be a standard resource for quota"))
    return found


def amounts(given: Object | None, path: Path, *, keyed: bool = True) -> list[FieldError]:
    """Return which amounts are less than nothing, or parts of what comes whole; keyed: a name is a key of its path, not a field."""
    found: list[FieldError] = []
    for name, value in (given or {}).items():
        where, amount = path.at(name) if keyed else path / name, parse(str(value))
        if amount < 0:
            found.append(invalid(where, str(value), "must be greater than or equal to 0"))
        if (name in COUNTED or is_extended(name)) and amount.denominator != 1:
            found.append(invalid(where, str(value), "must be an integer"))
    return found
