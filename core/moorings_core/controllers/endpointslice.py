"""EndpointSlice: the pods behind each Service, at most 100 to a slice, with as few slices written as can be.

Consumers pay for each changed slice, so an endpoint stays in the slice it is in, new ones go to slices that change anyway, and a
full rewrite never happens. Source of behaviour: upstream staging/src/k8s.io/endpointslice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from moorings_core.client.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from moorings_core.ports.client import Create, Update
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object, key_of

from . import endpoints_model as model
from . import moments, pods, topology, writes
from .framework import Intent, Note, Result, View, Watch, WorkKey
from .ownership import itself, reference_to
from .topology import ZONE

MOST = 100
SERVICE, MANAGER = "kubernetes.io/service-name", "endpointslice.kubernetes.io/managed-by"
OURS = "endpointslice-controller.k8s.io"
TRIGGERED = "endpoints.kubernetes.io/last-change-trigger-time"
Group = tuple[str, tuple[model.Port, ...]]
"""Slices are of one address family and one set of ports."""


@dataclass
class _Slice:
    """A slice as stored, if it is, and what shall be in it."""

    stored: Object | None
    endpoints: list[Object] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return self.stored is None or (self.stored.get("endpoints") or []) != self.endpoints

    @property
    def moved(self) -> bool:
        """Whether it differs in more than hints, as long as its endpoints have none."""
        return self.stored is None or topology.without_hints(self.stored.get("endpoints") or []) != self.endpoints

    @property
    def room(self) -> int:
        return MOST - len(self.endpoints)


class EndpointSliceController:
    """Keeps the slices of Services that select pods."""

    name = "endpoint-slice-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads services, pods, slices and the zones of nodes."""
        by_service = {"service": _by_service}
        return (
            Watch(SERVICES, itself, {"automatic": lambda service: ("yes",) if topology.is_automatic(service) else ()}),
            Watch(PODS, model.services_of, {"node": _by_node}),
            Watch(ENDPOINT_SLICES, _service_of_slice, by_service),
            Watch(NODES, _services_of_node),
        )

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Say which slices to write for a Service."""
        service = view.get(SERVICES, key[1], key[0])
        if service is None or service["metadata"].get("deletionTimestamp") or not model.is_selecting(service):
            return Result()
        stored = [s for s in view.by_index(ENDPOINT_SLICES, "service", "/".join(key)) if _is_alive(s)]
        wanted = _wanted(service, view)
        placed: dict[Group, Sequence[_Slice]] = {}
        for group, endpoints in wanted.items():
            present = sorted((s for s in stored if _group_of(s) == group), key=lambda s: str(s["metadata"]["name"]))
            placed[group] = _place(endpoints, present)
        notes = _give_hints(service, placed, view)
        intents: list[Intent] = []
        for group, slices in placed.items():
            for number, each in enumerate(slices):
                intents.extend(_write(service, group, each, now, keep_empty=not wanted[group] and number == 0))
        intents.extend(writes.delete(ENDPOINT_SLICES, s) for s in stored if _group_of(s) not in placed)
        return Result(intents, notes)


def _wanted(service: Object, view: View) -> Mapping[Group, Mapping[str, Object]]:
    """Return the endpoints by group and by the pod's uid; a family without any has one empty group, to be told as such."""
    families = service["spec"].get("ipFamilies") or ["IPv4"]
    found: dict[Group, dict[str, Object]] = {}
    behind = model.pods_of(service, view)
    for name in families:
        for pod in behind:
            mine = [address for address in model.addresses(pod) if model.family(address) == name]
            ports = model.ports_of(service, pod)
            if mine and (ports or not service["spec"].get("ports")):
                found.setdefault((name, ports), {})[pod["metadata"]["uid"]] = _endpoint(service, pod, mine[:1], view)
        if not any(group[0] == name for group in found):
            found[name, ()] = {}
    return found


def _endpoint(service: Object, pod: Object, addresses: Sequence[str], view: View) -> Object:
    serving, terminating = pods.is_ready(pod), pods.is_terminating(pod)
    ready = model.publishes_unready(service) or (serving and not terminating)
    endpoint: Object = {
        "addresses": list(addresses),
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": model.reference(pod),
    }
    if node := pod["spec"].get("nodeName"):
        endpoint["nodeName"] = node
        zone = ((view.get(NODES, node) or {}).get("metadata", {}).get("labels") or {}).get(ZONE)
        if zone:
            endpoint["zone"] = zone
    if name := model.hostname(service, pod):
        endpoint["hostname"] = name
    return endpoint


def _give_hints(service: Object, placed: Mapping[Group, Sequence[_Slice]], view: View) -> list[Note]:
    """Put hints into the endpoints of placed slices; return what is to be told of it."""
    notes: list[Note] = []
    asked = topology.is_automatic(service)
    for family in dict.fromkeys(group[0] for group in placed):
        slices = [each for group, found in placed.items() if group[0] == family for each in found]
        before = any("hints" in e for each in slices for e in (each.stored or {}).get("endpoints") or ())
        if asked:
            problem = _automatic(slices, view)
            if problem or not before:
                notes.append(_told(service, family, problem or topology.ENABLED, fine=not problem))
            continue
        distribution = service["spec"].get("trafficDistribution")
        if before and distribution is None and topology.is_disabled(service):
            notes.append(_told(service, family, topology.DISABLED, fine=False))
        for each in slices if distribution else ():
            each.endpoints = [topology.by_distribution(distribution, endpoint) for endpoint in each.endpoints]
    return notes


def _automatic(slices: Sequence[_Slice], view: View) -> str:
    """Give hints by zones' CPUs; return why that can't be done, or ""."""
    pieces = [topology.Piece(s.endpoints, None if s.moved or s.stored is None else s.stored.get("endpoints") or []) for s in slices]
    try:
        topology.automatic(pieces, view.all(NODES))
    except topology.Unfit as reason:
        return str(reason)
    for each, piece in zip(slices, pieces, strict=True):
        each.endpoints = piece.endpoints
    return ""


def _told(service: Object, family: str, words: str, *, fine: bool) -> Note:
    reason = "TopologyAwareHintsEnabled" if fine else "TopologyAwareHintsDisabled"
    return Note(service, "Normal" if fine else "Warning", reason, f"{words}, addressType: {family}")


def _place(wanted: Mapping[str, Object], present: Sequence[Object]) -> Sequence[_Slice]:
    """Return slices that hold exactly the wanted endpoints, near to what is there."""
    left = dict(wanted)
    slices = []
    for stored in present:
        uids = [_uid(endpoint) for endpoint in stored.get("endpoints") or ()]
        slices.append(_Slice(stored, [left.pop(uid) for uid in uids if uid in left]))
    rest = list(left.values())
    for each in slices:
        if each.moved and rest:
            each.endpoints, rest = each.endpoints + rest[: each.room], rest[each.room :]
    if rest:
        fitting = [each for each in slices if each.room >= len(rest)]
        if fitting:
            snug = min(fitting, key=lambda each: each.room)
            snug.endpoints, rest = snug.endpoints + rest, []
    slices.extend(_Slice(None, rest[start : start + MOST]) for start in range(0, len(rest), MOST))
    if not any(each.endpoints for each in slices):
        return slices or [_Slice(None)]
    return slices


def _write(service: Object, group: Group, each: _Slice, now: datetime, *, keep_empty: bool) -> list[Intent]:
    labels = _labels(service, each.stored)
    failed = Note(service, "Warning", "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices: {error}")
    if each.stored is None:
        return [Intent(Create(ENDPOINT_SLICES, _new(service, group, each.endpoints, labels, now)), failed=failed)]
    if not each.endpoints and not keep_empty:
        return [writes.delete(ENDPOINT_SLICES, each.stored)]
    metadata = each.stored["metadata"]
    if not each.changed and labels == (metadata.get("labels") or {}):
        return []
    annotations = {**(metadata.get("annotations") or {}), TRIGGERED: moments.stamp(now)}
    changed = {**each.stored, "metadata": {**metadata, "labels": labels, "annotations": annotations}, "endpoints": each.endpoints}
    return [Intent(Update(ENDPOINT_SLICES, changed), failed=failed, settled_by=(NotFound,))]


def _new(service: Object, group: Group, endpoints: Sequence[Object], labels: Mapping[str, str], now: datetime) -> Object:
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{service['metadata']['name']}-",
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
            "annotations": {TRIGGERED: moments.stamp(now)},
            "ownerReferences": [reference_to(service)],
        },
        "addressType": group[0],
        "endpoints": list(endpoints),
        "ports": [port.written() for port in group[1]],
    }


def _labels(service: Object, stored: Object | None) -> dict[str, str]:
    labels = {k: v for k, v in (service["metadata"].get("labels") or {}).items() if k not in (SERVICE, MANAGER, model.HEADLESS)}
    labels |= {SERVICE: service["metadata"]["name"], MANAGER: OURS}
    return labels | ({model.HEADLESS: ""} if model.is_headless(service) else {})


def _group_of(stored: Object) -> Group:
    ports = tuple(
        model.Port(p.get("name") or "", p.get("port") or 0, p.get("protocol") or "TCP", p.get("appProtocol") or "")
        for p in stored.get("ports") or ()
    )
    return (str(stored["addressType"]), ports)


def _uid(endpoint: Object) -> str:
    return str((endpoint.get("targetRef") or {}).get("uid", ""))


def _is_alive(stored: Object) -> bool:
    return not stored["metadata"].get("deletionTimestamp")


def _by_service(stored: Object) -> Iterable[str]:
    labels = stored["metadata"].get("labels") or {}
    ours = labels.get(MANAGER) == OURS and SERVICE in labels
    return (f"{stored['metadata'].get('namespace', '')}/{labels[SERVICE]}",) if ours else ()


def _by_node(pod: Object) -> Iterable[str]:
    return (pod["spec"].get("nodeName") or "",)


def _service_of_slice(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    for stored in (old, new):
        if stored is not None:
            for owner in _by_service(stored):
                yield tuple(owner.split("/", 1))


def _services_of_node(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    """Of a node only its zone matters, and to Services with hints by zones' CPUs whether it is ready."""
    zones = [((node or {}).get("metadata", {}).get("labels") or {}).get(ZONE) for node in (old, new)]
    if zones[0] != zones[1] or [node is not None and topology.is_ready(node) for node in (old, new)] in ([False, True], [True, False]):
        yield from map(key_of, view.by_index(SERVICES, "automatic", "yes"))
    if zones[0] == zones[1]:
        return
    node = new if new is not None else old
    for pod in view.by_index(PODS, "node", node["metadata"]["name"]) if node else ():
        yield from model.services_of(view, None, pod)
