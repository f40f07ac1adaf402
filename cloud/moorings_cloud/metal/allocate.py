"""Which Service gets which address. Pure: the only state is what the Services' statuses say.

Whoever has an address keeps it. Two that claim the same one (a status written by hand, two controllers at once): the older
Service keeps it. So a restart, or two runs at the same time, end at the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address

from moorings_core.ports.cloud import LoadBalancer, Operation
from moorings_core.ports.objects import Object, key_of

from .pools import Pool

CLASS = "moorings.dev/metal"
ADDRESSES_ANNOTATION, POOL_ANNOTATION = "moorings.dev/load-balancer-ips", "moorings.dev/address-pool"


def is_ours(service: Object) -> bool:
    """Whether a Service asks this backend for an address: of the type, and of no other class."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") in (None, "", CLASS)


def ingress(service: Object) -> tuple[str, ...]:
    """Return the addresses in a Service's status."""
    status = (service.get("status") or {}).get("loadBalancer") or {}
    return tuple(i["ip"] for i in status.get("ingress") or () if i.get("ip"))


def present(services: Iterable[Object]) -> list[LoadBalancer]:
    """Return what the Services' statuses say, oldest Service first. One that no longer asks but has addresses is in it, too."""
    ordered = sorted(services, key=lambda s: (str(s["metadata"].get("creationTimestamp", "")), str(s["metadata"].get("uid", ""))))
    return [_present(s) for s in ordered if is_ours(s) or (s["spec"].get("type") != "LoadBalancer" and ingress(s))]


def _present(service: Object) -> LoadBalancer:
    metadata, spec = service["metadata"], service["spec"]
    annotations = metadata.get("annotations") or {}
    asked = annotations.get(ADDRESSES_ANNOTATION) or spec.get("loadBalancerIP") or ""
    return LoadBalancer(
        service=key_of(service),
        owner=str(metadata.get("uid", "")),
        addresses=ingress(service),
        wanted=tuple(part.strip() for part in asked.split(",") if part.strip()),
        families=tuple(spec.get("ipFamilies") or ("IPv4",)) if is_ours(service) else (),
        pool=annotations.get(POOL_ANNOTATION, ""),
        version=str(metadata.get("resourceVersion", "")),
    )


def assign(actual: Sequence[LoadBalancer], pools: Sequence[Pool]) -> list[LoadBalancer]:
    """Return what each should have; those that can't have an address have a reason instead."""
    taken: set[str] = set()
    kept: dict[int, tuple[str, ...]] = {}
    for index, one in enumerate(actual):
        if _may_keep(one, pools, taken):
            kept[index] = one.addresses
            taken.update(one.addresses)
    wanted = []
    for index, one in enumerate(actual):
        if index in kept:
            wanted.append(one)
            continue
        found = _choose(one, pools, taken)
        if isinstance(found, str):
            wanted.append(replace(one, addresses=(), reason=found))
        else:
            taken.update(found)
            wanted.append(replace(one, addresses=found))
    return wanted


def _may_keep(one: LoadBalancer, pools: Sequence[Pool], taken: set[str]) -> bool:
    """Whether the addresses that a Service has are what it asks for, of the pools, and no older one's."""
    families = {f"IPv{ip_address(a).version}" for a in one.addresses}
    if not one.addresses or taken & set(one.addresses) or families != set(one.families):
        return not one.addresses and not one.families
    if one.wanted and set(one.wanted) != set(one.addresses):
        return False
    pools = [p for p in pools if one.pool in ("", p.name)]
    return all(any(pool.holds(a) for pool in pools) for a in one.addresses)


def _choose(one: LoadBalancer, pools: Sequence[Pool], taken: set[str]) -> tuple[str, ...] | str:
    """Return free addresses, or why there are none."""
    eligible = [p for p in pools if one.pool == p.name or (not one.pool and (p.auto or one.wanted))]
    if one.families and not eligible:
        return f"no pool named {one.pool}" if one.pool else "no address pool is configured"
    for address in one.wanted:
        try:
            known = any(p.holds(address) for p in eligible)
        except ValueError:
            return f"{address} is not an IP address"
        if not known:
            return f"{address} is in no address pool"
        if address in taken:
            return f"{address} is in use"
    if one.wanted and one.families:
        return one.wanted
    found = []
    for family in one.families:
        free = next(_free(eligible, family, taken), None)
        if free is None:
            return f"no free {family} address in {', '.join(p.name for p in eligible)}"
        found.append(free)
    return tuple(found)


def _free(pools: Iterable[Pool], family: str, taken: set[str]) -> Iterator[str]:
    for pool in pools:
        yield from (address for address in pool.addresses(family) if address not in taken)


def plan(desired: Sequence[LoadBalancer], actual: Sequence[LoadBalancer]) -> list[Operation[LoadBalancer]]:
    """Return the changes: addresses given, changed and taken away. One with a reason that changes nothing is no operation."""
    now = {one.service: one.addresses for one in actual}
    verbs = ((one, now.get(one.service, ())) for one in desired)
    changed = [(one, had) for one, had in verbs if one.addresses != had]
    return [Operation("delete" if not one.addresses else "update" if had else "create", one) for one, had in changed]
