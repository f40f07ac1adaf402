"""Endpoints: the older form of EndpointSlice, one object per Service, cut at 1,000 addresses."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from moorings_core.client.resources import ENDPOINTS, PODS, SERVICES
from moorings_core.ports.client import Create, Update
from moorings_core.ports.errors import AlreadyExists, NotFound
from moorings_core.ports.objects import Object

from . import endpoints_model as model
from . import pods, writes
from .framework import Intent, Note, Result, View, Watch, WorkKey
from .ownership import itself

MOST = 1000
MANAGER, OURS = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


class EndpointsController:
    """Keeps the Endpoints of Services that select pods."""

    name = "endpoint-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads services, pods and endpoints."""
        return (Watch(SERVICES, itself), Watch(PODS, model.services_of), Watch(ENDPOINTS, itself))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Say what to write for a Service."""
        service, stored = view.get(SERVICES, key[1], key[0]), view.get(ENDPOINTS, key[1], key[0])
        if service is None:
            ours = stored is not None and (stored["metadata"].get("labels") or {}).get(MANAGER) == OURS
            return Result([writes.delete(ENDPOINTS, stored)] if stored is not None and ours else [])
        if not model.is_selecting(service) or service["metadata"].get("deletionTimestamp"):
            return Result()
        subsets, over = _subsets(service, model.pods_of(service, view))
        wanted = _endpoints(service, stored, subsets, over)
        if stored is None:
            return Result([Intent(Create(ENDPOINTS, wanted), settled_by=(AlreadyExists,))])
        if wanted == stored or (not subsets and not stored.get("subsets") and wanted["metadata"] == stored["metadata"]):
            return Result()
        failed = Note(service, "Warning", "FailedToUpdateEndpoint", "Failed to update endpoint: {error}")
        return Result([Intent(Update(ENDPOINTS, wanted), failed=failed, settled_by=(NotFound,))])


def _subsets(service: Object, behind: Sequence[Object]) -> tuple[list[Object], bool]:
    primary = (service["spec"].get("ipFamilies") or ["IPv4"])[0]
    groups: dict[tuple[model.Port, ...], tuple[list[Object], list[Object]]] = {}
    count = 0
    for pod in behind:
        mine = [address for address in model.addresses(pod) if model.family(address) == primary]
        ports = model.ports_of(service, pod)
        unready_too = model.publishes_unready(service)
        if not mine or (not ports and service["spec"].get("ports")) or (pods.is_terminating(pod) and not unready_too):
            continue
        ready, unready = groups.setdefault(ports, ([], []))
        count += 1
        if count <= MOST:
            (ready if unready_too or pods.is_ready(pod) else unready).append(_address(service, pod, mine[0]))
    subsets = []
    for ports, (ready, unready) in sorted(groups.items()):
        lists = {"addresses": ready, "notReadyAddresses": unready, "ports": [port.written() for port in ports]}
        subset = {name: _sorted(values) if name != "ports" else values for name, values in lists.items() if values}
        if ready or unready:
            subsets.append(_unnamed(subset))
    return subsets, count > MOST


def _address(service: Object, pod: Object, ip: str) -> Object:
    address: Object = {"ip": ip, "targetRef": model.reference(pod)}
    if node := pod["spec"].get("nodeName"):
        address["nodeName"] = node
    if name := model.hostname(service, pod):
        address["hostname"] = name
    return address


def _sorted(addresses: Sequence[Object]) -> list[Object]:
    return sorted(addresses, key=lambda address: (str(address["ip"]), str(address["targetRef"]["uid"])))


def _unnamed(subset: Object) -> Object:
    """A lone port has no name here, where a slice has an empty one."""
    ports = subset.get("ports")
    if ports:
        subset["ports"] = [{k: v for k, v in port.items() if v != ""} for port in ports]
    return subset


def _endpoints(service: Object, stored: Object | None, subsets: Sequence[Object], over: bool) -> Object:
    metadata = dict(stored["metadata"]) if stored else {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"]}
    labels = {**(service["metadata"].get("labels") or {}), MANAGER: OURS}
    labels |= {model.HEADLESS: ""} if model.is_headless(service) else {}
    metadata["labels"] = labels
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != OVER_CAPACITY}
    annotations |= {OVER_CAPACITY: "truncated"} if over else {}
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    made: Object = {"apiVersion": "v1", "kind": "Endpoints", **(stored or {}), "metadata": metadata}
    made.pop("subsets", None)
    return made | ({"subsets": list(subsets)} if subsets else {})
