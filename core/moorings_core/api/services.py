"""Virtual addresses and node ports of Services: given at creation, kept while the Service lives.

There is no separate record: what the Services in the cache hold is what is taken, and what is being created is reserved until the
cache shows it. Source: upstream's service REST and allocators.
"""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Iterator

from moorings_core.ports.cluster import ServicesConfig
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.validation import FieldError, to_invalid
from moorings_core.registry.validation.errors import invalid

from .cache import Cache, Change

SERVICES = Resource("", "v1", "services", "Service", True)
RESERVED = 16
"""The first addresses of a range are for Services that ask for them (DNS)."""


class ServiceAllocator:
    """Hands out addresses and ports."""

    def __init__(self, cache: Cache, config: ServicesConfig, seed: int | None = None) -> None:
        self._cache = cache
        self._networks = [ipaddress.ip_network(c) for c in config.cidrs]
        self._ports = config.node_ports
        self._random = random.Random(seed)
        self._pending: dict[str, str] = {}
        self._addresses_held: Counter[str] = Counter()
        self._ports_held: dict[tuple[int, str], str] = {}
        self._follows = False

    def allocate(self, new: Object, old: Object | None = None) -> None:
        """Fill in clusterIP(s), families and node ports of a Service. Raises Invalid where one asked for is taken or foreign."""
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(field, None)
            return
        self._follow()
        self._addresses(new, old)
        self._node_ports(new, old)

    def release(self, service: Object) -> None:
        """Forget a reservation: the Service is in the cache, or was not stored."""
        for key in [k for k, owner in self._pending.items() if owner == _owner(service)]:
            del self._pending[key]

    def _addresses(self, new: Object, old: Object | None) -> None:
        spec = new["spec"]
        kept = old["spec"] if old and old["spec"].get("clusterIP") else None
        if kept and not spec.get("clusterIP"):
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if field in kept:
                    spec.setdefault(field, kept[field])
        if kept and spec.get("clusterIP") == kept["clusterIP"]:
            spec["clusterIPs"], spec["ipFamilies"] = kept["clusterIPs"], kept["ipFamilies"]
            spec["ipFamilyPolicy"] = kept["ipFamilyPolicy"]
            return
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        if asked == "None":
            spec |= {"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": [_family(self._networks[0])]}
            return
        address = self._claim(new, asked) if asked else self._next(new)
        spec |= {"clusterIP": address, "clusterIPs": [address], "ipFamilies": [_family(ipaddress.ip_address(address))]}

    def _claim(self, service: Object, asked: str) -> str:
        path = "spec.clusterIPs"
        try:
            address = ipaddress.ip_address(asked)
        except ValueError:
            raise _invalid(service, f"{path}[0]", asked, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)") from None
        if not any(address in network for network in self._networks):
            ranges = ", ".join(str(n) for n in self._networks)
            text = f"the provided IP ({asked}) is not in the valid range. The range of valid IPs is {ranges}"
            raise _invalid(service, path, [asked], f"failed to allocate IP {asked}: {text}")
        if self._is_taken(str(address)):
            raise _invalid(service, path, [asked], f"failed to allocate IP {asked}: provided IP is already allocated")
        self._pending[str(address)] = _owner(service)
        return str(address)

    def _next(self, service: Object) -> str:
        network = self._networks[0]
        size = min(network.num_addresses, 1 << 20)
        start = self._random.randrange(RESERVED, max(size - 1, RESERVED + 1))
        for offset in range(size):
            position = (start + offset) % size
            address = str(network[position])
            if RESERVED <= position < size - 1 and not self._is_taken(address):
                self._pending[address] = _owner(service)
                return address
        raise _invalid(service, "spec.clusterIPs", [], "failed to allocate a serviceIP: range is full")

    def _follow(self) -> None:
        """Count what the Services in the cache hold once, and then with every change: there may be many of them."""
        if self._follows:
            return
        self._follows = True
        services = self._cache.collection("", "services")
        for stored in services.select():
            self._count(stored.object, 1)
        services.listeners[self._observe] = None

    def _observe(self, change: Change) -> None:
        if change.old is not None:
            self._count(change.old.object, -1)
        if change.new is not None:
            self._count(change.new.object, 1)

    def _count(self, service: Object, by: int) -> None:
        for address in service["spec"].get("clusterIPs") or ():
            self._addresses_held[address] += by
            if not self._addresses_held[address]:
                del self._addresses_held[address]
        for port in service["spec"].get("ports") or ():
            if port.get("nodePort"):
                place = (port["nodePort"], port.get("protocol", "TCP"))
                if by > 0:
                    self._ports_held[place] = _owner(service)
                else:
                    self._ports_held.pop(place, None)

    def _is_taken(self, address: str) -> bool:
        return address in self._addresses_held or address in self._pending

    def _node_ports(self, new: Object, old: Object | None) -> None:
        spec = new["spec"]
        wanted = spec["type"] == "NodePort" or (spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))
        before = {(p.get("protocol"), p["port"]): p.get("nodePort") for p in (old or {"spec": {}})["spec"].get("ports") or ()}
        own = {port for port in before.values() if port}
        for i, port in enumerate(spec.get("ports") or ()):
            if not wanted:
                if spec["type"] != "LoadBalancer" and port.get("nodePort") in own:
                    del port["nodePort"]  # the type changed; one that is asked for here is refused by validation
                continue
            kept = before.get((port.get("protocol"), port["port"]))
            if not port.get("nodePort") and kept:
                port["nodePort"] = kept
            if not port.get("nodePort"):
                port["nodePort"] = self._next_port(new)
            elif port["nodePort"] not in own:
                self._claim_port(new, port, i)

    def _claim_port(self, service: Object, port: Object, index: int) -> None:
        path, number = f"spec.ports[{index}].nodePort", port["nodePort"]
        low, high = self._ports
        if not low <= number <= high:
            raise _invalid(service, path, number, f"provided port is not in the valid range. The range of valid ports is {low}-{high}")
        holder = dict(self._ports_in_use()).get((number, port.get("protocol", "TCP")))
        if holder not in (None, _owner(service)):
            raise _invalid(service, path, number, "provided port is already allocated")
        self._pending[f"port {number}/{port.get('protocol', 'TCP')}"] = _owner(service)

    def _next_port(self, service: Object) -> int:
        taken = {number for (number, _), _ in self._ports_in_use()}
        low, high = self._ports
        free = [p for p in range(low, high + 1) if p not in taken]
        if not free:
            raise _invalid(service, "spec.ports[0].nodePort", 0, "failed to allocate a nodePort: range is full")
        number = self._random.choice(free)
        for protocol in ("TCP", "UDP", "SCTP"):
            self._pending[f"port {number}/{protocol}"] = _owner(service)
        return number

    def _ports_in_use(self) -> Iterator[tuple[tuple[int, str], str]]:
        yield from self._ports_held.items()
        for key, owner in self._pending.items():
            if key.startswith("port "):
                number, _, protocol = key.removeprefix("port ").partition("/")
                yield (int(number), protocol), owner


def _owner(service: Object) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata'].get('name', '')}"


def _family(address: object) -> str:
    return "IPv6" if getattr(address, "version", 4) == 6 else "IPv4"


def _invalid(service: Object, path: str, value: object, text: str) -> Exception:
    error: FieldError = invalid(path, value, text)
    return to_invalid(SERVICES, service["metadata"].get("name", ""), [error])
