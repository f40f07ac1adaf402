"""What the fields of a Service make of each other: families of addresses, and what is kept or dropped on an update. Pure.

Functions change the object they are given, which the caller owns. Source: upstream's registry/core/service (storage, strategy).
"""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from .validation.errors import FieldError, invalid
from .validation.service_addresses import ADDRESSES, KINDS, POLICY, check_addresses, family_of
from .validation.services import is_reachable_from_outside, needs_health_check

SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}


def needs_address(spec: Object) -> bool:
    """Whether a Service has something in clusterIP ("None" counts)."""
    return spec.get("type") != "ExternalName"


def takes_node_ports(spec: Object) -> bool:
    """Whether a Service is given node ports without asking for them."""
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))


def keep_allocated(new: Object, old: Object) -> None:
    """Fill in what a client has left out of an update and what was given to the Service before."""
    if needs_address(old) and needs_address(new):
        _fill_in(new, old, "clusterIP", "clusterIPs")
    if takes_node_ports(old) and takes_node_ports(new):
        _keep_node_ports(new, old)
    if needs_health_check(old) and needs_health_check(new) and not new.get("healthCheckNodePort") and old.get("healthCheckNodePort"):
        new["healthCheckNodePort"] = old["healthCheckNodePort"]


def take_over(new: Object, old: Object) -> None:
    """Give a Service that is asked for a second time what its namesake has, where it does not say: nothing is allocated for it."""
    if not (needs_address(old) and needs_address(new)):
        return
    if new.get("clusterIP") and not new.get("clusterIPs"):
        new["clusterIPs"] = [new["clusterIP"]]
    _fill_in(new, old, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


def _fill_in(new: Object, old: Object, *fields: str) -> None:
    for field in fields:
        if not new.get(field) and old.get(field):
            new[field] = old[field]


def _keep_node_ports(new: Object, old: Object) -> None:
    used = {p.get("nodePort") for p in new.get("ports") or ()} - {None, 0}
    known = {p.get("name") or "": p.get("nodePort") for p in old.get("ports") or ()}
    for port in new.get("ports") or ():
        before = known.get(port.get("name") or "")
        if not port.get("nodePort") and before and before not in used:
            port["nodePort"] = before


def match_addresses(new: Object, old: Object | None) -> None:
    """Let clusterIP and clusterIPs agree where a client has written only one of them."""
    single, plural = new.get("clusterIP") or "", list(new.get("clusterIPs") or ())
    if old is None:
        if single and not plural:
            new["clusterIPs"] = [single]
        return
    before, all_before = old.get("clusterIP") or "", list(old.get("clusterIPs") or ())
    if all_before and not plural and before == single:
        plural = new["clusterIPs"] = all_before
    if before == single or plural != all_before:
        return
    if before and not single:
        new.pop("clusterIPs", None)
    else:
        new["clusterIPs"] = [single]


def choose_families(new: Object, old: Object | None, configured: Sequence[str]) -> list[FieldError]:
    """Decide on ipFamilyPolicy and ipFamilies; configured: the cluster's families, its first one first. Return what is wrong."""
    if not needs_address(new) or (old is not None and _is_settled(new, old)):
        return []
    headless = new.get("clusterIP") == "None"
    free = headless and not new.get("selector")
    if not new.get("ipFamilyPolicy"):
        kept = (old or {}).get("ipFamilyPolicy")
        new["ipFamilyPolicy"] = kept or (REQUIRE if free else SINGLE)
    found = check_addresses(new) or [*_against_before(new, old), *_against_policy(new)] or _infer(new, configured)
    if found:
        return found
    families = new["ipFamilies"] = list(new.get("ipFamilies") or ())
    if free:
        families += [] if families else [configured[0]]
        if len(families) < 2 and new["ipFamilyPolicy"] != SINGLE:
            families.append(OTHER[families[0]])
        return []
    found = _against_cluster(new, configured)
    if not found:
        families += [] if families else [configured[0]]
        if new["ipFamilyPolicy"] != SINGLE and len(families) == 1 and len(configured) == 2:
            families.append(OTHER[families[0]])
    return found


def _is_settled(new: Object, old: Object) -> bool:
    """Whether a Service that prefers two families stays as it is: a change of the cluster's families must not change it."""
    if new.get("type") != old.get("type") or not needs_address(new):
        return False
    both = new.get("ipFamilyPolicy") == PREFER == old.get("ipFamilyPolicy")
    return both and all((new.get(f) or []) == (old.get(f) or []) for f in ("clusterIPs", "ipFamilies"))


def _against_before(new: Object, old: Object | None) -> list[FieldError]:
    """Drop the second family where the policy asks for one; without that it may not go."""
    found: list[FieldError] = []
    words = {"clusterIPs": "must be 'SingleStack' to release the secondary cluster IP", "ipFamilies": ""}
    words["ipFamilies"] = "must be 'SingleStack' to release the secondary IP family"
    for field, text in words.items():
        before, now = (old or {}).get(field) or [], new.get(field) or []
        if new["ipFamilyPolicy"] == SINGLE:
            if old is not None and now == before and len(now) > 1:
                new[field] = now[:1]
        elif now and len(now) < len(before):
            found.append(invalid(POLICY, new["ipFamilyPolicy"], text))
    return found


def _against_policy(new: Object) -> list[FieldError]:
    if new["ipFamilyPolicy"] != SINGLE:
        return []
    words = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    many = (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
    return [invalid(POLICY, SINGLE, words.format(name)) for field, name in many if len(new.get(field) or ()) == 2]


def _infer(new: Object, configured: Sequence[str]) -> list[FieldError]:
    """Take the families from the addresses that were asked for."""
    addresses, families = new.get("clusterIPs") or [], list(new.get("ipFamilies") or ())
    found: list[FieldError] = []
    for i, address in enumerate(addresses):
        if address == "None":
            break
        if i >= len(families):
            family = family_of(address)
            if family in configured:
                families.append(family)
            else:
                found.append(invalid(ADDRESSES.at(i), addresses, f"{family} is not configured on this cluster"))
    new["ipFamilies"] = families
    return found


def _against_cluster(new: Object, configured: Sequence[str]) -> list[FieldError]:
    found = []
    if new["ipFamilyPolicy"] == REQUIRE and len(configured) < 2:
        found.append(invalid(POLICY, REQUIRE, "this cluster is not configured for dual-stack services"))
    for i, family in enumerate(new["ipFamilies"]):
        if family not in configured:
            found.append(invalid(KINDS.at(i), family, "not configured on this cluster"))
    return found


def drop_unfitting(new: Object, old: Object) -> None:
    """Clear what the new type has no use for, unless the client has changed it, too: then validation refuses it."""
    if needs_address(old) and not needs_address(new):
        if all(new.get(f) == old.get(f) for f in ("clusterIP", "clusterIPs")):
            new.pop("clusterIP", None)
            new.pop("clusterIPs", None)
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if new.get(field) == old.get(field):
                new.pop(field, None)
    had, has = (spec.get("type") in ("NodePort", "LoadBalancer") for spec in (old, new))
    if had and not has and _node_ports(new) <= _node_ports(old):
        for port in new.get("ports") or ():
            port.pop("nodePort", None)
    if needs_health_check(old) and not needs_health_check(new):
        _drop_same(new, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" != new.get("type"):
        _drop_same(new, old, "allocateLoadBalancerNodePorts")
        _drop_same(new, old, "loadBalancerClass")
    if is_reachable_from_outside(old) and not is_reachable_from_outside(new):
        _drop_same(new, old, "externalTrafficPolicy")


def _drop_same(new: Object, old: Object, field: str) -> None:
    if new.get(field) == old.get(field):
        new.pop(field, None)


def _node_ports(spec: Object) -> set[int]:
    return {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
