"""Rules of a Service's addresses and IP families: clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy belong together.

Source: upstream's apis/core/validation (ValidateServiceClusterIPsRelatedFields and its neighbours).
"""

from __future__ import annotations

import ipaddress
from typing import Any

from moorings_core.ports.objects import Object

from . import ips
from .errors import FieldError, Path, duplicate, invalid, not_supported, required

FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
ADDRESSES, KINDS, POLICY = Path("spec.clusterIPs"), Path("spec.ipFamilies"), Path("spec.ipFamilyPolicy")
ONCE = "may not change once set"


def is_ip(text: Any) -> bool:
    """Whether a text is an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def family_of(address: str) -> str:
    """Return "IPv4" or "IPv6"."""
    return "IPv6" if ":" in address else "IPv4"


def is_headless(spec: Object) -> bool:
    """Whether a Service has no virtual address on purpose."""
    return list(spec.get("clusterIPs") or ()) == ["None"]


def check_addresses(spec: Object) -> list[FieldError]:
    """Return what is wrong with the four fields together."""
    if spec.get("type") == "ExternalName":
        return []
    addresses, families, policy = spec.get("clusterIPs") or [], spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    found = _first(spec.get("clusterIP") or "", addresses)
    for i, family in enumerate(families):
        if family not in FAMILIES:
            found.append(not_supported(KINDS.at(i), family, FAMILIES))
        if family in families[:i]:
            found.append(duplicate(KINDS.at(i), family))
    if policy is not None and policy not in FAMILY_POLICIES:
        found.append(not_supported(POLICY, policy, FAMILY_POLICIES))
    wrong = _each(addresses)
    wrong_count = [invalid(ADDRESSES, addresses, "may only hold up to 2 values")] if len(addresses) > 2 else []
    if wrong:
        return found + wrong + wrong_count
    return found + wrong_count + _together(addresses, families)


def _first(singular: str, addresses: list[str]) -> list[FieldError]:
    if not singular:
        return [invalid(ADDRESSES, addresses, "must be empty when `clusterIP` is not specified")] if addresses else []
    if not addresses:
        return [required(ADDRESSES)]
    return [] if addresses[0] == singular else [invalid(ADDRESSES, addresses, "first value must match `clusterIP`")]


def _each(addresses: list[str]) -> list[FieldError]:
    found: list[FieldError] = []
    for i, address in enumerate(addresses):
        if i == 0 and address == "None":
            if len(addresses) > 1:
                found.append(invalid(ADDRESSES, addresses, "'None' must be the first and only value"))
        elif not is_ip(address):
            found += ips.address(address, ADDRESSES.at(i))
    return found


def _together(addresses: list[str], families: list[str]) -> list[FieldError]:
    found = []
    if len(addresses) > 1 and {family_of(a) for a in addresses} != set(FAMILIES):
        found.append(invalid(ADDRESSES, addresses, "may specify no more than one IP for each IP family"))
    if addresses != ["None"]:
        for i, (address, family) in enumerate(zip(addresses, families, strict=False)):
            if family in FAMILIES and family_of(address) != family:
                words = f"expected an {family} value as indicated by `ipFamilies[{i}]`"
                found.append(invalid(ADDRESSES.at(i), address, words))
    return found


def check_update(after: Object, before: Object) -> list[FieldError]:
    """Return whether the addresses may become so: the first stays, the second comes and goes with the policy."""
    if "ExternalName" in (after.get("type"), before.get("type")) or (is_headless(after) and is_headless(before)):
        return []
    new, old = after.get("clusterIPs") or [], before.get("clusterIPs") or []
    if len(new) == len(old):
        return [invalid(ADDRESSES.at(i), new, ONCE) for i in range(len(old)) if old[i] != new[i]]
    found = []
    if not new:
        found.append(invalid(ADDRESSES.at(0), new, "primary clusterIP can not be unset"))
    elif old and new[0] != old[0]:
        found.append(invalid(ADDRESSES.at(0), new, ONCE))
    if len(old) > len(new) == 1 and after.get("ipFamilyPolicy") != "SingleStack":
        words = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        found.append(invalid(POLICY, after.get("ipFamilyPolicy"), words))
    return found


def check_families_update(after: Object, before: Object) -> list[FieldError]:
    """Return whether the families may become so."""
    if "ExternalName" in (after.get("type"), before.get("type")):
        return []
    if is_headless(after) or is_headless(before):
        return []
    new, old = after.get("ipFamilies") or [], before.get("ipFamilies") or []
    if len(new) == len(old):
        return [invalid(KINDS.at(0), new, ONCE) for i in range(len(old)) if old[i] != new[i]]
    found = []
    if len(old) > len(new) and not after.get("clusterIPs"):
        found.append(invalid(KINDS.at(0), new, "primary ipFamily can not be unset"))
    if new and old and new[0] != old[0]:
        found.append(invalid(KINDS.at(0), after.get("clusterIPs") or [], ONCE))
    if len(old) > len(new) == 1 and after.get("ipFamilyPolicy") != "SingleStack":
        words = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        found.append(invalid(POLICY, after.get("ipFamilyPolicy"), words))
    return found
