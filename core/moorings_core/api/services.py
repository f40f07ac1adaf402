"""Virtual addresses and node ports of Services: given at creation, kept while the Service lives.

Addresses have IPAddress objects (see `addresses`), node ports have records (see `node_ports`). What is being written is reserved until
the cache shows it. Source: upstream's service REST and allocators.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from moorings_core.ports.cluster import ServicesConfig
from moorings_core.ports.errors import ApiError
from moorings_core.ports.objects import Object, Resource
from moorings_core.ports.store import Operation
from moorings_core.registry.services import (
    choose_families,
    drop_unfitting,
    keep_allocated,
    match_addresses,
    needs_address,
    takes_node_ports,
)
from moorings_core.registry.validation import to_invalid
from moorings_core.registry.validation.errors import FieldError, invalid
from moorings_core.registry.validation.services import needs_health_check

from . import node_ports
from .addresses import AddressError, Addresses, RangeFull
from .cache import Cache

SERVICES = Resource("", "v1", "services", "Service", True)
STATIC_PORTS = 86
"""The first node ports are for who asks for one, as long as there are others. Source: KEP-3668."""
ADDRESSES = "spec.clusterIPs"


class ServiceAllocator:
    """Hands out addresses and ports."""

    def __init__(self, cache: Cache, config: ServicesConfig, seed: int | None = None) -> None:
        self._cache = cache
        self._ports = config.node_ports
        self._random = random.Random(seed)
        self._pending: dict[str, str] = {}
        self._addresses = Addresses(cache, config.cidrs, self._pending, self._random)

    def allocate(self, new: Object, old: Object | None = None, *, dry_run: bool = False) -> None:
        """Fill in addresses, families and node ports of a Service. Raises Invalid where one asked for is taken or foreign."""
        after, before = new["spec"], old["spec"] if old else None
        if before is not None:
            keep_allocated(after, before)
        match_addresses(after, before)
        self._refuse(new, choose_families(after, before, self._addresses.families))
        try:
            self._give_addresses(new, before, dry_run)
            self._give_node_ports(new, before)
            self._give_health_port(new, before)
        except BaseException:
            self.release(new)
            raise
        if not needs_address(after):
            after.pop("internalTrafficPolicy", None)
        if before is not None:
            drop_unfitting(after, before)
            if after.get("type") != "LoadBalancer" and (new.get("status") or {}).get("loadBalancer"):
                new["status"] = {**new["status"], "loadBalancer": {}}

    def records(self, new: Object | None, old: Object | None = None) -> list[Operation]:
        """Return what has to be committed with the write of a Service: its IPAddress objects, the records of its node ports."""
        service = new or old
        assert service is not None
        addresses = self._addresses.records(service, _addresses_of(old), _addresses_of(new))
        return [*addresses, *node_ports.records(self._cache, new, old)]

    def release(self, service: Object) -> None:
        """Forget a reservation: the Service is in the cache, or was not stored."""
        owner = _owner(service)
        for key in [k for k, held in self._pending.items() if held == owner]:
            del self._pending[key]

    @staticmethod
    def _refuse(service: Object, found: Sequence[FieldError]) -> None:
        if found:
            raise to_invalid(SERVICES, service["metadata"].get("name", ""), found)

    def _give_addresses(self, service: Object, before: Object | None, dry_run: bool) -> None:
        spec = service["spec"]
        given = list(spec.get("clusterIPs") or ())
        if not needs_address(spec) or given == ["None"] or (before or {}).get("clusterIPs") == ["None"]:
            return
        held = [ip for ip in (before or {}).get("clusterIPs") or () if ip != "None"]
        changed = before is not None and held and given[: len(held)] != held[: len(given)]
        if changed:
            return  # validation says that it may not
        families = spec.get("ipFamilies") or []
        for i, family in enumerate(families):
            asked = given[i] if i < len(given) else ""
            if asked and asked in held:
                continue
            address = self._address(service, asked, family, given, dry_run)
            given[i : i + 1] = [address]
            self._pending[address] = _owner(service)
        spec |= {"clusterIP": given[0], "clusterIPs": given}

    def _address(self, service: Object, asked: str, family: str, given: Sequence[str], dry_run: bool) -> str:
        try:
            return self._addresses.claim(asked, dry_run=dry_run) if asked else self._addresses.next(family, dry_run=dry_run)
        except RangeFull as error:
            name = service["metadata"].get("name", "")
            raise ApiError(f'Internal error occurred: failed to allocate a serviceIP for Service "{name}": {error}') from error
        except AddressError as error:
            self._refuse(service, [invalid(ADDRESSES, list(given), f"failed to allocate IP {asked}: {error}")])
            raise

    def _give_node_ports(self, service: Object, before: Object | None) -> None:
        spec = service["spec"]
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            return
        if before is None:
            self._give_first_node_ports(service)
            return
        own = {p["nodePort"] for p in before.get("ports") or () if p.get("nodePort")}
        for i, port in enumerate(spec.get("ports") or ()):
            if not port.get("nodePort"):
                if takes_node_ports(spec):
                    port["nodePort"] = self._next_port(service)
            elif port["nodePort"] not in own:
                self._claim_port(service, port["nodePort"], f"spec.ports[{i}].nodePort")
                own.add(port["nodePort"])

    def _give_first_node_ports(self, service: Object) -> None:
        """Give node ports to a new Service: one port of several protocols shares one, if nothing else is asked for."""
        spec, shared = service["spec"], dict[int, int]()
        ports = spec.get("ports") or []
        for i, port in enumerate(ports):
            asked = port.get("nodePort") or 0
            if not asked and not takes_node_ports(spec):
                continue
            path, number = f"spec.ports[{i}].nodePort", port["port"]
            if number not in shared:
                first = next((p["nodePort"] for p in ports if p["port"] == number and p.get("nodePort")), 0)
                shared[number] = self._claim_port(service, first, path) if first else self._next_port(service)
                port["nodePort"] = shared[number]
            elif not asked:
                port["nodePort"] = shared[number]
            elif asked != shared[number]:
                self._claim_port(service, asked, path)

    def _give_health_port(self, service: Object, before: Object | None) -> None:
        spec = service["spec"]
        if not needs_health_check(spec) or (before is not None and needs_health_check(before)):
            return
        number = spec.get("healthCheckNodePort")
        if not number:
            spec["healthCheckNodePort"] = self._next_port(service)
        elif problem := self._problem(number):
            text = f"failed to allocate requested HealthCheck NodePort {number}: {problem}"
            raise ApiError(f"Internal error occurred: {text}", details={"causes": [{"message": text}]})
        else:
            self._pending[f"port {number}"] = _owner(service)

    def _claim_port(self, service: Object, number: int, path: str) -> int:
        if problem := self._problem(number):
            self._refuse(service, [invalid(path, number, problem)])
        self._pending[f"port {number}"] = _owner(service)
        return number

    def _problem(self, number: int) -> str:
        """Return why a port can't be had, or ""."""
        low, high = self._ports
        if not low <= number <= high:
            return f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
        return "provided port is already allocated" if number in self._ports_in_use() else ""

    def _next_port(self, service: Object) -> int:
        taken = self._ports_in_use()
        low, high = self._ports
        above = [p for p in range(min(low + STATIC_PORTS, high), high + 1) if p not in taken]
        free = above or [p for p in range(low, high + 1) if p not in taken]
        if not free:
            raise ApiError("Internal error occurred: failed to allocate a nodePort: range is full")
        number = self._random.choice(free)
        self._pending[f"port {number}"] = _owner(service)
        return number

    def _ports_in_use(self) -> set[int]:
        """Return the ports of all Services, whatever the protocol."""
        found = {int(key.removeprefix("port ")) for key in self._pending if key.startswith("port ")}
        for stored in self._cache.collection("", "services").select():
            found |= node_ports.ports_of(stored.object)
        return found | node_ports.recorded(self._cache)


def _addresses_of(service: Object | None) -> list[str]:
    return [ip for ip in (service or {"spec": {}})["spec"].get("clusterIPs") or () if ip != "None"]


def _owner(service: Object) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata'].get('name', '')}"
