"""What a node's DNS keeps of Services and EndpointSlices: what `zone` reads. Pure."""

from __future__ import annotations

from collections.abc import Callable

from moorings_core.ports.objects import Object

SERVICE_NAME = "kubernetes.io/service-name"
SPEC = ("type", "externalName", "clusterIP", "clusterIPs")
PORT = ("name", "port", "protocol")


def of_service(service: Object) -> Object:
    """Return what is kept of a Service."""
    spec = {k: v for k, v in service["spec"].items() if k in SPEC and v}
    return {"metadata": _identity(service), "spec": spec | {"ports": _ports(service["spec"])}}


def of_slice(whole: str) -> Callable[[Object], Object]:
    """Return a function to what is kept of a slice: all of the one of that name, which is this node's own to compare and to write."""

    def kept(piece: Object) -> Object:
        if piece["metadata"]["name"] == whole:
            return piece
        name = (piece["metadata"].get("labels") or {}).get(SERVICE_NAME)
        metadata = _identity(piece) | ({"labels": {SERVICE_NAME: name}} if name else {})
        endpoints = [_endpoint(endpoint) for endpoint in piece.get("endpoints") or ()]
        return {"metadata": metadata, "addressType": piece.get("addressType"), "ports": _ports(piece), "endpoints": endpoints}

    return kept


def _endpoint(endpoint: Object) -> Object:
    kept: Object = {"addresses": endpoint.get("addresses") or []}
    if endpoint.get("hostname"):
        kept["hostname"] = endpoint["hostname"]
    if (endpoint.get("conditions") or {}).get("ready") is False:
        kept["conditions"] = {"ready": False}
    return kept


def _ports(holder: Object) -> list[Object]:
    return [{k: port[k] for k in PORT if port.get(k)} for port in holder.get("ports") or ()]


def _identity(obj: Object) -> Object:
    metadata = obj["metadata"]
    return {"name": metadata["name"], "namespace": metadata.get("namespace", ""), "resourceVersion": metadata.get("resourceVersion", "")}
