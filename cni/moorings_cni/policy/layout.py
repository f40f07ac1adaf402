"""The constant rule set: `inet moorings_policy`. Pods and policies are elements of its sets; a rule never comes or goes. Pure.

An address has a *class*: the peers of policies, as far as this node's pods need them, that it belongs to. `peer` has the classes
of pods by address, `block` those of address ranges. What a pod of this node may is `pod . class` (everything), `pod . class .
protocol . port` or a range of ports; class ANY stands for every peer. The class of the packet's other end is held in the packet's
priority for the length of a chain, since a lookup's key can't have another lookup in it: forwarding has just set it from the
TOS, and it is 0 afterwards.

Only what is forwarded is looked at: a node always reaches its own pods and they reach it. Only the original direction is looked
at, and each packet of it: answers follow what was asked, and a connection that is no longer allowed stops.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from moorings_core.kernel.nftables import SetSpec
from moorings_core.kernel.nftables.changes import Changes

TABLE = "moorings_policy"
INET = 1
ANY = 0xFFFFFF
"""The class that stands for every peer."""
FAMILIES = {4: ("ip", "ipv4_addr", 4), 6: ("ip6", "ipv6_addr", 16)}
DIRECTIONS = {"in": ("daddr", "saddr"), "out": ("saddr", "daddr")}

SETS = """
    set self$V { type $ADDR . $ADDR; }
    map peer$V { type $ADDR : classid; }
    map block$V { type $ADDR : classid; flags interval; }
"""
SIDE_SETS = """
    set $D$V { type $ADDR; }
    set $D_all$V { type $ADDR . classid; counter; }
    set $D_port$V { type $ADDR . classid . inet_proto . inet_service; counter; }
    set $D_range$V { type $ADDR . classid . inet_proto . inet_service; flags interval; counter; }
    set $D_drop$V { type $ADDR; counter; }
"""
ALLOWED = (
    "$IP $MINE . meta priority @$D_all$V goto done",
    "$IP $MINE . meta priority . meta l4proto . th dport @$D_port$V goto done",
    "$IP $MINE . meta priority . meta l4proto . th dport @$D_range$V goto done",
)
SIDE_RULES = (
    "$IP saddr . $IP daddr @self$V return",
    "meta priority set 0",
    "meta priority set $IP $OTHER map @block$V",
    "meta priority set $IP $OTHER map @peer$V",
    *ALLOWED,
    "meta priority set ff:ffff",
    *ALLOWED,
    "$IP $MINE @$D_drop$V drop",
    "drop",
)
FORWARD = (
    "ct direction reply accept",
    "ct state related accept",
    "ip saddr @out4 jump leave4",
    "ip daddr @in4 jump enter4",
    "ip6 saddr @out6 jump leave6",
    "ip6 daddr @in6 jump enter6",
)
CHAIN_OF = {"in": "enter", "out": "leave"}


def sets() -> dict[str, SetSpec]:
    """Return every set and map by name."""
    found: dict[str, SetSpec] = {}

    def add(name: str, length: int, data: int = 0, *, interval: bool = False, bounds: bool = False) -> None:
        found[name] = SetSpec(INET, TABLE, name, length, "map" if data else "set", data, interval, bounds)

    for version, (_, _, a) in FAMILIES.items():
        add(f"self{version}", 2 * a)
        add(f"peer{version}", a, 4)
        add(f"block{version}", a, 4, bounds=True)
        for side in DIRECTIONS:
            add(f"{side}{version}", a)
            add(f"{side}_all{version}", a + 4)
            add(f"{side}_port{version}", a + 12)
            add(f"{side}_range{version}", a + 12, interval=True)
            add(f"{side}_drop{version}", a)
    return found


def text() -> str:
    """Return the table as nft text: safe to run over itself, one transaction, elements stay."""
    chains: dict[str, tuple[str, list[str]]] = {"done": ("", ["meta priority set 0"])}
    lines = [f"add table inet {TABLE}"]
    for version, (ip, kind, _) in FAMILIES.items():
        lines += _declarations(SETS, {"V": str(version), "ADDR": kind})
        for side, (mine, other) in DIRECTIONS.items():
            names = {"V": str(version), "ADDR": kind, "IP": ip, "MINE": mine, "OTHER": other, "D": side}
            lines += _declarations(SIDE_SETS, names)
            chains[f"{CHAIN_OF[side]}{version}"] = ("", [_filled(rule, names) for rule in SIDE_RULES])
    chains["forward"] = ("type filter hook forward priority filter - 5; policy accept;", list(FORWARD))
    lines += [f"add chain inet {TABLE} {name} {{ {hook} }}" for name, (hook, _) in chains.items()]
    lines += [f"flush chain inet {TABLE} {name}" for name in chains]
    return "\n".join(lines + [f"add rule inet {TABLE} {name} {rule}" for name, (_, rules) in chains.items() for rule in rules])


def _declarations(template: str, names: dict[str, str]) -> list[str]:
    return [f"add {kind} inet {TABLE} {rest}" for kind, _, rest in (_filled(line, names).partition(" ") for line in _lines(template))]


def _lines(template: str) -> list[str]:
    return [line.strip() for line in template.strip().splitlines()]


def _filled(line: str, names: dict[str, str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        line = line.replace(f"${name}", names[name])
    return line


def address(text_: str) -> tuple[int, bytes]:
    """Return (4 or 6, the address as it stands in keys)."""
    ip = ip_address(text_)
    return ip.version, ip.packed


def class_key(number: int, *, interval: bool = False) -> bytes:
    """Return a class as it stands in keys and data: the packet's priority, in host order.

    In a key that is an interval every part is in network order, and nft makes the rule turn the priority round.
    """
    return struct.pack(">I" if interval else "=I", number)


def port_key(protocol: int, port: int) -> bytes:
    """Return protocol . port as it stands in keys."""
    return struct.pack(">B3xH2x", protocol, port)


def is_whole(name: str) -> bool:
    """Whether a set is written as a whole: intervals that take each other's place would overlap in between."""
    return name.startswith("block")


def rewrite(changes: Changes, name: str, now: Mapping[bytes, bytes], before: Iterable[bytes]) -> None:
    """Let a set be written as a whole."""
    changes.delete[name], changes.add[name] = sorted(before), dict(now)
