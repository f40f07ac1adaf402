"""IP addresses and networks. Source: apiserver pkg/cel/library/ip.go, cidr.go."""

from __future__ import annotations

import ipaddress
from typing import Any

from .declare import CIDR, IP, box, function, method, type_of, unbox

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _address(text: str) -> Address:
    if "%" in text:
        raise ValueError(f'IP Address "{text}" with zone value is not allowed')
    found = ipaddress.ip_address(text)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return found


def _network(text: str) -> Interface:
    address, slash, length = text.partition("/")
    if not slash or not length.isdigit() or (len(length) > 1 and length.startswith("0")):
        raise ValueError(f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): no "/"')
    _address(address)
    return ipaddress.ip_interface(text)


def _is(parse: Any, text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


@function("ip", "string", gives=IP)
def _ip(text: str) -> Any:
    return box(IP, str(_address(text)))


@function("isIP", "string", gives="bool")
def _is_ip(text: str) -> bool:
    return _is(_address, text)


@function("ip.isCanonical", "string", gives="bool")
def _is_canonical(text: str) -> bool:
    return str(_address(text)) == text


@method("family", IP, gives="int")
def _family(value: Any) -> int:
    return _address(unbox(value)).version


@method("isUnspecified", IP, gives="bool")
def _is_unspecified(value: Any) -> bool:
    return _address(unbox(value)).is_unspecified


@method("isLoopback", IP, gives="bool")
def _is_loopback(value: Any) -> bool:
    return _address(unbox(value)).is_loopback


@method("isLinkLocalMulticast", IP, gives="bool")
def _is_link_local_multicast(value: Any) -> bool:
    address = _address(unbox(value))
    if address.version == 4:
        return address in ipaddress.ip_network("224.0.0.0/24")
    return address.is_multicast and address.packed[1] & 0x0F == 2


@method("isLinkLocalUnicast", IP, gives="bool")
def _is_link_local_unicast(value: Any) -> bool:
    address = _address(unbox(value))
    return address.is_link_local


@method("isGlobalUnicast", IP, gives="bool")
def _is_global_unicast(value: Any) -> bool:
    address = _address(unbox(value))
    special = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not special and str(address) != "255.255.255.255"


@function("cidr", "string", gives=CIDR)
def _cidr(text: str) -> Any:
    return box(CIDR, str(_network(text)))


@function("isCIDR", "string", gives="bool")
def _is_cidr(text: str) -> bool:
    return _is(_network, text)


@method("containsIP", CIDR, "string", gives="bool")
@method("containsIP", CIDR, IP, gives="bool")
def _contains_ip(value: Any, address: Any) -> bool:
    wanted = _address(address if isinstance(address, str) else unbox(address))
    network = _network(unbox(value)).network
    return wanted.version == network.version and wanted in network


@method("containsCIDR", CIDR, "string", gives="bool")
@method("containsCIDR", CIDR, CIDR, gives="bool")
def _contains_cidr(value: Any, other: Any) -> bool:
    outer = _network(unbox(value)).network
    inner = _network(other if isinstance(other, str) else unbox(other)).network
    return inner.version == outer.version and inner.prefixlen >= outer.prefixlen and inner.network_address in outer


@method("ip", CIDR, gives=IP)
def _cidr_ip(value: Any) -> Any:
    return box(IP, str(_network(unbox(value)).ip))


@method("masked", CIDR, gives=CIDR)
def _masked(value: Any) -> Any:
    return box(CIDR, str(_network(unbox(value)).network))


@method("prefixLength", CIDR, gives="int")
def _prefix_length(value: Any) -> int:
    assert type_of(value) == CIDR
    return _network(unbox(value)).network.prefixlen
