"""EndpointSlices for Endpoints that somebody wrote by hand, for a Service that selects no pods: whoever reads slices only sees them, too.

Source: upstream pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from moorings_core.client.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from moorings_core.ports.client import Create, Update
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object, key_of

from . import endpoints_model as model
from . import writes
from .endpointslice import MANAGER, SERVICE, TRIGGERED
from .framework import Intent, Note, Result, View, Watch, WorkKey
from .ownership import itself, reference_to

OURS = "endpointslicemirroring-controller.k8s.io"
SKIP, LEADER = "endpointslice.kubernetes.io/skip-mirror", "control-plane.alpha.kubernetes.io/leader"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MOST = 1000
"""Addresses of one subset."""
Group = tuple[str, tuple[model.Port, ...]]


class EndpointSliceMirroringController:
    """Keeps a slice for each family and set of ports of such Endpoints."""

    name = "endpoint-slice-mirroring-controller"

    def watches(self) -> Sequence[Watch]:
        """Reads Endpoints, the Services of their names, and the slices that it has made."""
        return (Watch(ENDPOINTS, itself), Watch(SERVICES, itself), Watch(ENDPOINT_SLICES, _owner, {"mirrored": _by_name}))

    def reconcile(self, key: WorkKey, view: View, now: datetime) -> Result:
        """Say which slices to write for Endpoints."""
        endpoints, service = view.get(ENDPOINTS, key[1], key[0]), view.get(SERVICES, key[1], key[0])
        stored = sorted(view.by_index(ENDPOINT_SLICES, "mirrored", "/".join(key)), key=lambda s: str(s["metadata"]["name"]))
        if endpoints is None or service is None or service["spec"].get("selector") or not is_mirrored(endpoints):
            return Result([writes.delete(ENDPOINT_SLICES, piece) for piece in stored])
        wanted, notes = wanted_of(endpoints)
        intents: list[Intent] = []
        kept: set[str] = set()
        for group, addresses in wanted.items():
            found = next((piece for piece in stored if _group_of(piece) == group), None)
            new = _slice(endpoints, group, addresses)
            if found is None:
                intents.append(Intent(Create(ENDPOINT_SLICES, new)))
                continue
            kept.add(found["metadata"]["name"])
            if _differs(found, new):
                metadata = {**found["metadata"], **{k: new["metadata"][k] for k in ("labels", "annotations", "ownerReferences")}}
                intents.append(Intent(Update(ENDPOINT_SLICES, {**found, **new, "metadata": metadata}), settled_by=(NotFound,)))
        intents += [writes.delete(ENDPOINT_SLICES, piece) for piece in stored if piece["metadata"]["name"] not in kept]
        return Result(intents, notes)


def is_mirrored(endpoints: Object) -> bool:
    """Whether Endpoints want slices: who has their own, and leader elections, say that they don't."""
    metadata = endpoints["metadata"]
    skipped = (metadata.get("labels") or {}).get(SKIP) == "true" or LEADER in (metadata.get("annotations") or {})
    return not skipped and not metadata.get("deletionTimestamp")


def wanted_of(endpoints: Object) -> tuple[Mapping[Group, list[Object]], list[Note]]:
    """Return the endpoints of slices by family and ports, and what is to be told of addresses that are left out."""
    found: dict[Group, dict[str, Object]] = {}
    wrong = left = 0
    for subset in endpoints.get("subsets") or ():
        ports = tuple(_port(port) for port in subset.get("ports") or ())
        count = 0
        for name, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(name) or ():
                made = _endpoint(address, ready)
                if made is None:
                    wrong += 1
                elif count == MOST:
                    left += 1
                else:
                    count += 1
                    ip = made["addresses"][0]
                    found.setdefault((model.family(ip), ports), {})[f"{ip} {made.get('targetRef')}"] = made
    notes = []
    if wrong:
        text = f"Skipped {wrong} invalid IP addresses when mirroring to EndpointSlices"
        notes.append(Note(endpoints, "Warning", "InvalidIPAddress", text))
    if left:
        text = f"A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. {left + wrong} addresses were skipped"
        notes.append(Note(endpoints, "Warning", "TooManyAddressesToMirror", text))
    return {group: list(made.values()) for group, made in found.items()}, notes


def _endpoint(address: Object, ready: bool) -> Object | None:
    try:
        ip = str(ipaddress.ip_address(address["ip"]))
    except ValueError:
        return None
    found: Object = {"addresses": [ip], "conditions": {"ready": ready}}
    return found | {name: address[name] for name in ("targetRef", "nodeName", "hostname") if address.get(name)}


def _port(port: Object) -> model.Port:
    return model.Port(port.get("name") or "", int(port["port"]), port.get("protocol") or "TCP", port.get("appProtocol") or "")


def _slice(endpoints: Object, group: Group, addresses: Sequence[Object]) -> Object:
    metadata = endpoints["metadata"]
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in (TRIGGERED, APPLIED)}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": {**(metadata.get("labels") or {}), SERVICE: metadata["name"], MANAGER: OURS},
            "annotations": annotations,
            "ownerReferences": [reference_to(endpoints)],
        },
        "addressType": group[0],
        "endpoints": list(addresses),
        "ports": [port.written() for port in group[1]],
    }


def _differs(stored: Object, new: Object) -> bool:
    have, want = stored["metadata"], new["metadata"]
    uids = [[owner.get("uid") for owner in m.get("ownerReferences") or ()] for m in (have, want)]
    same = all((have.get(part) or {}) == want[part] for part in ("labels", "annotations")) and uids[0] == uids[1]
    return not same or (stored.get("endpoints") or []) != new["endpoints"]


def _group_of(piece: Object) -> Group:
    return str(piece["addressType"]), tuple(_port(port) for port in piece.get("ports") or () if port.get("port"))


def _by_name(piece: Object) -> Iterable[str]:
    labels = piece["metadata"].get("labels") or {}
    mine = labels.get(MANAGER) == OURS and SERVICE in labels and not piece["metadata"].get("deletionTimestamp")
    return (f"{piece['metadata'].get('namespace', '')}/{labels[SERVICE]}",) if mine else ()


def _owner(view: View, old: Object | None, new: Object | None) -> Iterable[WorkKey]:
    for piece in (old, new):
        labels = (piece or {"metadata": {}})["metadata"].get("labels") or {}
        if piece is not None and labels.get(MANAGER) == OURS and SERVICE in labels:
            yield (key_of(piece).namespace, labels[SERVICE])
