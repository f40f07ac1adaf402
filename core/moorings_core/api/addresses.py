"""The addresses of Services: taken from the ServiceCIDRs, recorded as IPAddress objects in the commit that writes the Service.

That an IPAddress is created (its name is the address) is what makes an address unique, also between servers that share a store.
Source: upstream's registry/core/service/ipallocator.
"""

from __future__ import annotations

import ipaddress
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence

from moorings_core.ports.objects import Key, Object
from moorings_core.ports.store import DeleteRecord, Operation, PutRecord
from moorings_core.registry.schema import named
from moorings_core.registry.validation.service_addresses import family_of

from . import managing
from .apply.managers import UPDATE, Manager
from .cache import Cache, encode, store_key
from .codec import now

GROUP = "networking.k8s.io"
MANAGED_BY, FAMILY, MANAGER = "ipaddress.kubernetes.io/managed-by", "ipaddress.kubernetes.io/ip-family", "ipallocator.k8s.io"
STATIC_LEAST, STATIC_MOST, STATIC_PART = 16, 256, 16
OWNER = Manager(managing.SERVER, UPDATE, f"{GROUP}/v1")
SEARCH = 1 << 20
"""Addresses that are looked at before a range counts as full."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressError(Exception):
    """An address can't be given; the text says why."""


class RangeFull(AddressError):
    """Every address is taken."""


class Addresses:
    """Finds free addresses. configured: the ranges of the cluster file, used until ServiceCIDR objects say more."""

    def __init__(self, cache: Cache, configured: Sequence[str], pending: Mapping[str, str], randomness: random.Random) -> None:
        self._cache, self._configured, self._pending, self._random = cache, list(configured), pending, randomness
        self._older: frozenset[str] | None = None

    @property
    def families(self) -> list[str]:
        """The cluster's families, the first one first."""
        return list(dict.fromkeys(family_of(cidr) for cidr in self._configured))

    def claim(self, asked: str, *, dry_run: bool) -> str:
        """Return an address that was asked for, as it is written. Raises AddressError."""
        address = ipaddress.ip_address(asked)
        networks = self._networks(family_of(asked))
        if not any(_gives(network, address) for network in networks):
            if not dry_run:
                raise AddressError("the provided network does not match the current range")
            listed = ", ".join(str(n) for n in networks)
            raise AddressError(f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {listed}")
        if self._is_taken(str(address)):
            raise AddressError("provided IP is already allocated")
        return str(address)

    def next(self, family: str, *, dry_run: bool = False) -> str:
        """Return a free address: from the upper part of a range first, as the lower one is for who asks. Raises RangeFull.

        A dry run gets the address of the range itself, as upstream's: none that it would have now is promised.
        """
        for network in self._networks(family):
            if dry_run:
                return str(network.network_address)
            for address in self._candidates(network):
                if not self._is_taken(address):
                    return address
        raise RangeFull("range is full")

    def records(self, service: Object, before: Sequence[str], after: Sequence[str]) -> list[Operation]:
        """Return what has to be written with a Service whose addresses change so."""
        made: list[Operation] = [
            PutRecord(_place(ip), encode(ip_address(service, ip)), expect=0)
            for ip in after
            if ip not in before and not self._is_recorded(ip, service)
        ]
        gone: list[Operation] = [DeleteRecord(_place(ip)) for ip in before if ip not in after and self._is_recorded(ip, service)]
        return [*made, *gone]

    def _candidates(self, network: Network) -> Iterator[str]:
        first, last = 1, network.num_addresses - (1 if network.version == 4 else 0)
        reserved = _reserved(network)
        for low, high in ((first + reserved, last), (first, first + reserved)):
            count = high - low
            start = self._random.randrange(count) if count > 0 else 0
            for offset in range(min(count, SEARCH)):
                yield str(network[low + (start + offset) % count])

    def _networks(self, family: str) -> list[Network]:
        objects = [s.object for s in self._cache.collection(GROUP, "servicecidrs").select()]
        ready = [o for o in objects if not o["metadata"].get("deletionTimestamp") and is_ready(o)]
        cidrs = [cidr for o in ready for cidr in o["spec"].get("cidrs") or ()] if objects else self._configured
        return [ipaddress.ip_network(cidr) for cidr in dict.fromkeys(cidrs) if family_of(cidr) == family]

    def _is_taken(self, address: str) -> bool:
        recorded = self._cache.collection(GROUP, "ipaddresses").get(Key("", address)) is not None
        return recorded or address in self._pending or address in self._without_record()

    def _is_recorded(self, address: str, service: Object) -> bool:
        found = self._cache.collection(GROUP, "ipaddresses").get(Key("", address))
        return found is not None and found.object["spec"].get("parentRef") == parent_of(service)

    def _without_record(self) -> frozenset[str]:
        """Addresses of Services that are older than IPAddress objects: looked for once, as a controller makes up for them."""
        if self._older is None:
            services = (s.object["spec"] for s in self._cache.collection("", "services").select())
            every = {ip for spec in services for ip in spec.get("clusterIPs") or () if ip != "None"}
            known = self._cache.collection(GROUP, "ipaddresses")
            self._older = frozenset(ip for ip in every if known.get(Key("", ip)) is None)
        return self._older


def ip_address(service: Object, address: str) -> Object:
    """Return the IPAddress object of a Service's address."""
    uid = str(uuid.UUID(int=random.getrandbits(128), version=4))
    labels = {FAMILY: family_of(address), MANAGED_BY: MANAGER}
    metadata: Object = {"name": address, "uid": uid, "creationTimestamp": now(), "labels": labels}
    made = {"apiVersion": f"{GROUP}/v1", "kind": "IPAddress", "metadata": metadata, "spec": {"parentRef": parent_of(service)}}
    metadata["managedFields"] = managing.of_new(made, named("io.k8s.api.networking.v1.IPAddress"), OWNER)
    return made


def parent_of(service: Object) -> Object:
    """Return how an IPAddress names its Service."""
    metadata = service["metadata"]
    return {"resource": "services", "namespace": metadata["namespace"], "name": metadata["name"]}


def is_ready(cidr: Object) -> bool:
    """Whether a ServiceCIDR may give addresses; without a condition it may."""
    conditions = (cidr.get("status") or {}).get("conditions") or ()
    return next((str(c.get("status")) == "True" for c in conditions if c.get("type") == "Ready"), True)


def _place(address: str) -> str:
    return store_key(GROUP, "ipaddresses", Key("", address))


def _reserved(network: Network) -> int:
    """Return how many addresses at the start of a range are for who asks for one. Source: KEP-3070."""
    size = network.num_addresses
    return 0 if size <= STATIC_LEAST else max(STATIC_LEAST, min(size // STATIC_PART, STATIC_MOST))


def _gives(network: Network, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a range can give an address: not its first, and in IPv4 not its last."""
    if address not in network or address == network.network_address:
        return False
    return network.version == 6 or address != network.broadcast_address
