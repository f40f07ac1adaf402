"""Addresses and ranges in fields that are older than upstream's strict rules: any spelling of what is right, but nothing ambiguous.

Source: apimachinery's util/validation/ip.go (IsValidIPForLegacyField, IsValidCIDRForLegacyField).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from .errors import FieldError, Path, invalid

IP_WORDS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
CIDR_WORDS = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
ZEROS, MAPPED = "must not have leading 0s", "must not be an IPv4-mapped IPv6 address"
ZEROS_IN_RANGE, MAPPED_RANGE = f"{ZEROS} in IP or prefix length", "must not have an IPv4-mapped IPv6 address"
BITS = "must not have bits set beyond the prefix length"
STRICT = (ZEROS, MAPPED, ZEROS_IN_RANGE, MAPPED_RANGE, BITS)
"""Rules that are younger than the fields: what is stored may break them"""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_ZEROS = re.compile(r"\b0+(?=\d)")


def address(text: str, path: Path) -> list[FieldError]:
    """Return what is wrong with an address."""
    sloppy = _without_zeros(text)
    try:
        parsed = ipaddress.ip_address(sloppy)
    except ValueError:
        return [invalid(path, text, IP_WORDS)]
    if "%" in text:
        return [invalid(path, text, IP_WORDS)]
    if sloppy != text:
        return [invalid(path, text, ZEROS)]
    mapped = isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None
    return [invalid(path, text, MAPPED)] if mapped else []


def cidr(text: str, path: Path) -> list[FieldError]:
    """Return what is wrong with a range of addresses."""
    parsed, sloppy = network(text), _without_zeros(text)
    if parsed is None:
        return [invalid(path, text, CIDR_WORDS)]
    start = ipaddress.ip_interface(sloppy).ip
    if sloppy != text:
        return [invalid(path, text, ZEROS_IN_RANGE)]
    if isinstance(start, ipaddress.IPv6Address) and start.ipv4_mapped is not None:
        return [invalid(path, text, MAPPED_RANGE)]
    return [] if start == parsed.network_address else [invalid(path, text, BITS)]


def network(text: str) -> Network | None:
    """Return the range that a text names, however it spells it, or None."""
    start, slash, length = text.rpartition("/")
    if not slash or not length.isdecimal() or not length.isascii() or "%" in start:
        return None
    try:
        return ipaddress.ip_network(_without_zeros(text), strict=False)
    except ValueError:
        return None


def is_like(text: str) -> bool:
    """Whether a text is an address, however it spells it."""
    return not address(_without_zeros(text), Path("")) or any(error.message.endswith(MAPPED) for error in address(text, Path("")))


def tolerated(found: list[FieldError], before: Callable[[], list[FieldError]]) -> list[FieldError]:
    """Return what is wrong with an object without those ambiguous addresses that the object before it has too."""
    if not any(error.message.endswith(STRICT) for error in found):
        return found
    known = {error.message for error in before() if error.message.endswith(STRICT)}
    return [error for error in found if error.message not in known]


def _without_zeros(text: str) -> str:
    start, slash, length = text.partition("/")
    return (_ZEROS.sub("", start) if ":" not in start or "." in start else start) + slash + _ZEROS.sub("", length)
