"""Encoded rule expressions, for rules that nft's text cannot say or that are made by number.

Registers are 32 bits wide, 0..15; a value takes as many as it needs. Source: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from .wire import attribute, nested, number, text

NETWORK, TRANSPORT = 1, 2
META_L4PROTO = 16
CT_SOURCE_IP, CT_DESTINATION_IP, CT_SOURCE_IP6, CT_DESTINATION_IP6, CT_PROTO_DST = 19, 20, 21, 22, 12
ORIGINAL = 0
_REG32_00 = 8


def payload(register: int, base: int, offset: int, length: int) -> bytes:
    """Load header bytes."""
    return _expression("payload", _register(1, register), number(2, base), number(3, offset), number(4, length))


def meta(register: int, key: int) -> bytes:
    """Load packet metadata."""
    return _expression("meta", _register(1, register), number(2, key))


def conntrack(register: int, key: int, direction: int = ORIGINAL) -> bytes:
    """Load a part of the connection's tuple in a direction."""
    return _expression("ct", _register(1, register), number(2, key), attribute(3, bytes([direction])))


def random(register: int, modulus: int, offset: int = 0) -> bytes:
    """Load offset + a random number below modulus, in host order."""
    return _expression("numgen", _register(1, register), number(2, modulus), number(3, 1), number(4, offset))


def lookup(name: str, source: int, destination: int) -> bytes:
    """Load what a map holds for the key at source; the rule ends here when it holds nothing."""
    return _expression("lookup", text(1, name), _register(2, source), _register(3, destination))


def member(name: str, source: int, *, absent: bool = False) -> bytes:
    """Go on only if the set holds (absent: does not hold) the key at source."""
    return _expression("lookup", text(1, name), _register(2, source), number(5, int(absent)))


def verdict_of(name: str, source: int) -> bytes:
    """Take the verdict that a map holds for the key at source; go on with the next rule when it holds none."""
    return _expression("lookup", text(1, name), _register(2, source), number(3, 0))


def source_is_local(register: int) -> list[bytes]:
    """Go on only if the source address is one of this machine's."""
    load = _expression("fib", _register(1, register), number(2, 3), number(3, 1))
    data = nested(3, attribute(1, struct.pack("=I", 2)))  # RTN_LOCAL
    return [load, _expression("cmp", _register(1, register), number(2, 0), data)]


def masquerade() -> bytes:
    """Translate the source to the outgoing interface's address, with fully random ports: no clash under load."""
    return _expression("masq", number(1, 1 << 4))


def dnat(family: int, address: int, port: int) -> bytes:
    """Translate the destination to what two registers hold."""
    registers = _register(3, address) + _register(4, address) + _register(5, port) + _register(6, port)
    return _expression("nat", number(1, 1), number(2, family), registers)


def immediate(data: bytes) -> bytes:
    """Give a verdict (see `wire.verdict`)."""
    return _expression("immediate", number(1, 0), nested(2, data))


def update(name: str, key: int, data: int, timeout: int) -> bytes:
    """Add or refresh an element of a dynamic map from two registers; timeout in milliseconds."""
    return _expression(
        "dynset", text(1, name), number(3, 1), _register(4, key), _register(5, data), attribute(6, struct.pack(">Q", timeout))
    )


def _register(kind: int, index: int) -> bytes:
    return number(kind, _REG32_00 + index)


def _expression(name: str, *parts: bytes) -> bytes:
    return text(1, name) + nested(2, *parts)
