"""Address pools as the cluster file gives them. Pure.

cloud: {backend: metal, parameters: {pools: [192.0.2.10-192.0.2.20, "2001:db8::/120"]}}
cloud: {backend: metal, parameters: {pools: [{name: outer, addresses: [192.0.2.0/28], autoAssign: false}]}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from moorings_core.ports.errors import MooringsError

Address = IPv4Address | IPv6Address


class PoolError(MooringsError):
    """A pool in the cluster file is wrong; the message has the field path."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses from first to last, both included, of one family."""

    first: Address
    last: Address

    def __contains__(self, address: Address) -> bool:
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)

    def __iter__(self) -> Iterator[str]:
        kind = type(self.first)
        return (str(kind(number)) for number in range(int(self.first), int(self.last) + 1))


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of addresses. auto: Services that name no pool and no address may have one of it."""

    name: str
    ranges: tuple[Range, ...]
    auto: bool = True

    def holds(self, address: str) -> bool:
        """Whether an address is of this pool."""
        return any(ip_address(address) in one for one in self.ranges)

    def addresses(self, family: str) -> Iterator[str]:
        """Yield the addresses of a family ("IPv4", "IPv6") in order."""
        for one in self.ranges:
            if f"IPv{one.first.version}" == family:
                yield from one


def parse_pools(parameters: Mapping[str, Any]) -> tuple[Pool, ...]:
    """Return the pools of the backend's parameters. Raises PoolError."""
    given = parameters.get("pools", ())
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise PoolError("cloud.parameters.pools: expected a list of ranges, CIDRs or pools")
    return tuple(_pool(f"cloud.parameters.pools[{i}]", i, item) for i, item in enumerate(given))


def _pool(path: str, index: int, item: object) -> Pool:
    if isinstance(item, str):
        return Pool(f"pool-{index}", (_range(path, item),))
    if not isinstance(item, Mapping):
        raise PoolError(f'{path}: expected "first-last", a CIDR, or {{name, addresses, autoAssign}}')
    if unknown := set(item) - {"name", "addresses", "autoAssign"}:
        raise PoolError(f"{path}.{min(unknown)}: unknown field; expected name, addresses, autoAssign")
    texts = item.get("addresses")
    if not isinstance(texts, Sequence) or isinstance(texts, str) or not texts:
        raise PoolError(f'{path}.addresses: expected a list of "first-last" or CIDRs')
    ranges = tuple(_range(f"{path}.addresses[{i}]", text) for i, text in enumerate(texts))
    return Pool(str(item.get("name", f"pool-{index}")), ranges, bool(item.get("autoAssign", True)))


def _range(path: str, text: object) -> Range:
    try:
        if "-" in str(text):
            first, last = (ip_address(part.strip()) for part in str(text).split("-"))
            if first.version != last.version or int(first) > int(last):
                raise ValueError("the first address is not below the last")
            return Range(first, last)
        network = ip_network(str(text), strict=True)
    except ValueError as error:
        raise PoolError(f'{path}: expected "first-last" or a CIDR, found {text!r}: {error}') from error
    spare = 1 if network.version == 4 and network.prefixlen < 31 else 0  # not the network's own and its broadcast address
    return Range(network[spare], network[-1 - spare])
