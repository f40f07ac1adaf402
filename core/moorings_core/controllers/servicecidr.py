"""The ranges of Services' addresses: whether each may give addresses, and when one may go; and addresses that lost their Service.

Source: upstream pkg/controller/servicecidrs and the IPAddress repair loop of its API server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime

from moorings_core.client.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES
from moorings_core.ports.client import Create, Update
from moorings_core.ports.errors import AlreadyExists, NotFound
from moorings_core.ports.objects import Object, key_of

from . import conditions, moments, writes
from .framework import Intent, Question, Result, View, Watch, WorkKey
from .ownership import itself

FINALIZER, READY = "networking.k8s.io/service-cidr-finalizer", "Ready"
MANAGED_BY, FAMILY, MANAGER = "ipaddress.kubernetes.io/managed-by", "ipaddress.kubernetes.io/ip-family", "ipallocator.k8s.io"
DEFAULT, GRACE = "kubernetes", 10.0
"""Seconds from the deletion of a range until it goes: whoever gives addresses must have heard of it."""
WAITING = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


class ServiceCidrController:
    """Says that a ServiceCIDR is ready, keeps a deleted one while its addresses are in use. configured: the cluster file's ranges."""

    name = "service-cidr-controller"

    def __init__(self, configured: Sequence[str]) -> None:
        self._configured = list(configured)

    def watches(self) -> Sequence[Watch]:
        """Reads ranges and addresses."""
        return (Watch(SERVICE_CIDRS, _touching), Watch(IP_ADDRESSES, _ranges_of))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Look at one range."""
        cidr = view.get(SERVICE_CIDRS, key[1])
        if cidr is None:
            return Result()
        metadata = cidr["metadata"]
        held = FINALIZER in (metadata.get("finalizers") or ())
        if metadata.get("deletionTimestamp"):
            return self._deleted(cidr, view, now) if held else Result()
        if metadata["name"] == DEFAULT and _grows(cidr["spec"]["cidrs"], self._configured):
            return Result([Intent(Update(SERVICE_CIDRS, {**cidr, "spec": {"cidrs": self._configured}}), settled_by=(NotFound,))])
        if not held:
            return Result([writes.with_finalizer(SERVICE_CIDRS, cidr, FINALIZER)])
        return Result(_say(cidr, "True", "", "Kubernetes Service CIDR is ready", now))

    def _deleted(self, cidr: Object, view: View, now: datetime) -> Result:
        if _is_needed(cidr, view):
            return Result(_say(cidr, "False", "Terminating", WAITING, now))
        left = GRACE - moments.since(cidr["metadata"]["deletionTimestamp"], now)
        if left > 0:
            return Result(requeue_after=left)
        return Result([writes.without_finalizer(SERVICE_CIDRS, cidr, FINALIZER)])


class IpAddressController:
    """Makes up for IPAddress objects that are missing, and removes those whose Service has gone or has another address."""

    name = "ip-address-repair-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads addresses and services. Its work is one address."""
        by_address = {"address": lambda service: _addresses(service)}
        return (Watch(IP_ADDRESSES, itself), Watch(SERVICES, _addresses_touched, by_address))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Look at one address; before its record is deleted, the API is asked about the Service that the cache may not know."""
        record, owners = view.get(IP_ADDRESSES, key[1]), view.by_index(SERVICES, "address", key[1])
        if record is None:
            first = min(owners, key=_age, default=None)
            return Result([Intent(Create(IP_ADDRESSES, _record(key[1], first)), settled_by=(AlreadyExists,))] if first else [])
        parent = record["spec"].get("parentRef") or {}
        ours = (record["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER and parent.get("resource") == "services"
        if not ours or any((*key_of(o),) == (parent.get("namespace"), parent.get("name")) for o in owners):
            return Result()
        question = Question(SERVICES, str(parent.get("namespace")), str(parent.get("name")))
        answer = view.answers.get(question)
        if answer is None:
            return Result(questions=[question])
        if isinstance(answer, NotFound) or (isinstance(answer, dict) and key[1] not in _addresses(answer)):
            return Result([writes.delete(IP_ADDRESSES, record)])
        if isinstance(answer, Exception):
            raise answer
        return Result(requeue_after=5)


def _say(cidr: Object, status: str, reason: str, message: str, now: datetime) -> list[Intent]:
    condition = {"type": READY, "status": status, "reason": reason, "message": message, "lastTransitionTime": moments.stamp(now)}
    old = cidr.get("status") or {}
    new = {**old, "conditions": conditions.put(old.get("conditions") or [], condition)}
    return writes.status(SERVICE_CIDRS, cidr, new)


def _grows(have: Sequence[str], configured: Sequence[str]) -> bool:
    """Whether the cluster has been given a second family since."""
    return len(have) == 1 and len(configured) == 2 and configured[0] == have[0]


def _is_needed(cidr: Object, view: View) -> bool:
    """Whether an address in use would be in no other range."""
    others = [_networks(other) for other in view.all(SERVICE_CIDRS) if other["metadata"]["name"] != cidr["metadata"]["name"]]
    known = [network for networks in others for network in networks]
    if all(any(_within(mine, network) for network in known) for mine in _networks(cidr)):
        return False
    for record in view.all(IP_ADDRESSES):
        if (record["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER:
            address = ipaddress.ip_address(record["metadata"]["name"])
            if any(address in n for n in _networks(cidr)) and not any(address in n for n in known):
                return True
    return False


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(cidr: Object) -> list[Network]:
    return [ipaddress.ip_network(text) for text in cidr["spec"].get("cidrs") or ()]


def _within(one: Network, other: Network) -> bool:
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]  # of one version


def _touching(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """A range that comes or goes matters to those that overlap with it."""
    changed = new or old
    for other in view.all(SERVICE_CIDRS):
        if changed and any(a.overlaps(b) for a in _networks(changed) for b in _networks(other) if a.version == b.version):
            yield key_of(other)
    if changed:
        yield key_of(changed)


def _ranges_of(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """An address matters only to ranges that wait to be deleted."""
    if old is not None and new is not None:
        return
    for cidr in view.all(SERVICE_CIDRS):
        if cidr["metadata"].get("deletionTimestamp"):
            yield key_of(cidr)


def _addresses(service: Object) -> list[str]:
    return [ip for ip in service["spec"].get("clusterIPs") or () if ip != "None"]


def _addresses_touched(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    before, after = (set(_addresses(s)) if s is not None else set() for s in (old, new))
    yield from (("", ip) for ip in before ^ after)


def _age(service: Object) -> tuple[str, str]:
    return str(service["metadata"].get("creationTimestamp", "")), str(service["metadata"].get("uid", ""))


def _record(address: str, service: Object) -> Object:
    namespace, name = key_of(service)
    labels = {FAMILY: "IPv6" if ":" in address else "IPv4", MANAGED_BY: MANAGER}
    parent = {"resource": "services", "namespace": namespace, "name": name}
    metadata = {"name": address, "labels": labels}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": metadata, "spec": {"parentRef": parent}}
