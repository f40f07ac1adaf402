"""Rules of what controllers say of workloads: numbers that fit together. Source: upstream's pkg/apis/apps and core validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from moorings_core.ports.objects import Object

from .errors import FieldError, Path, invalid
from .ips import address
from .names import subdomain
from .service_addresses import is_ip

STATUS = Path("status")
NEGATIVE = "must be greater than or equal to 0"


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of a kind's status: all of them, those that are at most the replicas, and how ready replicas are called in texts."""

    all: tuple[str, ...]
    capped: tuple[str, ...] = ()
    ready: str = "readyReplicas"
    collides: bool = False


_REPLICAS = Counts(
    ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration", "terminatingReplicas"),
    ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
)
COUNTS: Mapping[tuple[str, str], Counts] = {
    ("apps", "deployments"): Counts(
        (
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ),
        ("updatedReplicas", "readyReplicas", "availableReplicas"),
        collides=True,
    ),
    ("apps", "replicasets"): _REPLICAS,
    ("", "replicationcontrollers"): _REPLICAS,
    ("apps", "statefulsets"): Counts(
        (
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ),
        ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"),
        "status.readyReplicas",
        collides=True,
    ),
    ("apps", "daemonsets"): Counts(
        (
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ),
        collides=True,
    ),
}


def check_counts(counts: Counts, new: Object, old: Object) -> list[FieldError]:
    """Return which numbers of a status do not fit."""
    status, before = new.get("status") or {}, old.get("status") or {}
    found = [invalid(STATUS / field, status[field], NEGATIVE) for field in counts.all if (status.get(field) or 0) < 0]
    total, ready = status.get("replicas") or 0, status.get("readyReplicas") or 0
    over = ((field, status.get(field) or 0) for field in counts.capped)
    found += [invalid(STATUS / field, number, "cannot be greater than status.replicas") for field, number in over if number > total]
    available = status.get("availableReplicas") or 0
    if "availableReplicas" in counts.capped and available > ready:
        found.append(invalid(STATUS / "availableReplicas", available, f"cannot be greater than {counts.ready}"))
    had, has = before.get("collisionCount"), status.get("collisionCount")
    if counts.collides and had is not None and (has is None or has < had):
        found.append(invalid(STATUS / "collisionCount", has or 0, "cannot be decremented"))
    return found


def check_ingress(new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with where an Ingress is said to be reached."""
    found: list[FieldError] = []
    for i, given in enumerate(((new.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()):
        path, name = (STATUS / "loadBalancer" / "ingress").at(i), given.get("hostname") or ""
        found += address(given["ip"], path / "ip") if given.get("ip") else []
        if name and (complaint := subdomain(name)):
            found.append(invalid(path / "hostname", name, complaint))
        if name and is_ip(name):
            found.append(invalid(path / "hostname", name, "must be a DNS name, not an IP address"))
    return found


def _rule(counts: Counts) -> Callable[[Object, Object], list[FieldError]]:
    return lambda new, old: check_counts(counts, new, old)


RULES = {**{kind: _rule(counts) for kind, counts in COUNTS.items()}, ("networking.k8s.io", "ingresses"): check_ingress}
