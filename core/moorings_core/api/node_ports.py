"""Records of node ports: one for each port that a Service has, made and removed in the commit that writes the Service.

That a record is created is what makes a port unique between servers that share a store. Records are in the store and its cache only:
no kind of the API shows them. Upstream has one bitmap for all ports, changed by compare and swap (registry/core/service/portallocator);
here two Services that get different ports do not meet.
"""

from __future__ import annotations

from moorings_core.ports.objects import Key, Object
from moorings_core.ports.store import DeleteRecord, Operation, PutRecord

from .cache import Cache, encode, store_key

GROUP, PLURAL = "", "nodeports"


def ports_of(service: Object | None) -> set[int]:
    """Return the ports that a Service has on every node, that of its health check with them."""
    spec = (service or {"spec": {}})["spec"]
    found = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    return found | ({spec["healthCheckNodePort"]} if spec.get("healthCheckNodePort") else set())


def recorded(cache: Cache) -> set[int]:
    """Return the ports that have a record."""
    return {int(stored.object["metadata"]["name"]) for stored in cache.collection(GROUP, PLURAL).select()}


def records(cache: Cache, new: Object | None, old: Object | None) -> list[Operation]:
    """Return what has to be written with a Service that changes so. Ports of Services older than records get theirs with the change."""
    service = new or old
    assert service is not None
    owner = {name: service["metadata"][name] for name in ("namespace", "name")}
    before, after = ports_of(old), ports_of(new)
    known = {number for number in before | after if _owner(cache, number) == owner}
    made: list[Operation] = [PutRecord(_place(n), encode(_record(n, owner)), expect=0) for n in sorted(after - known)]
    return [*made, *(DeleteRecord(_place(n)) for n in sorted((before & known) - after))]


def _owner(cache: Cache, number: int) -> Object | None:
    found = cache.collection(GROUP, PLURAL).get(Key("", str(number)))
    return found.object["spec"] if found is not None else None


def _record(number: int, owner: Object) -> Object:
    return {"metadata": {"name": str(number)}, "spec": owner}


def _place(number: int) -> str:
    return store_key(GROUP, PLURAL, Key("", str(number)))
