"""Counters of elements, told by policy. Pure.

An element may stand for rules of several policies, and a packet is counted once: it counts for each policy that allows it. A
packet that is denied counts for each policy that isolates the pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from moorings_core.ports.objects import Key

from .elements import Suffix

Counters = Mapping[str, Mapping[bytes, tuple[int, int]]]
"""set -> key -> (packets, bytes)"""


class Count(NamedTuple):
    """Packets that one policy has allowed and denied one pod in a direction."""

    policy: Key
    pod: Key
    direction: str
    allowed: int
    denied: int


def counted(counters: Counters, side: str, version: int, address: bytes, own: Iterable[Suffix]) -> tuple[int, int]:
    """Return the packets allowed to an address by what `own` names, and all that were denied to it."""
    allowed = 0
    elements = {
        kind: {key: n for key, (n, _) in counters.get(f"{side}_{kind}{version}", {}).items() if key.startswith(address)}
        for kind in ("all", "port", "range")
    }
    for kind, low, high in own:
        for key, packets in elements[kind].items():
            first, last = (key[: len(key) // 2], key[len(key) // 2 :]) if kind == "range" else (key, key)
            if first <= address + (high or low) and address + low <= last and key[len(address) :][:4] == low[:4]:
                allowed += packets
    return allowed, counters.get(f"{side}_drop{version}", {}).get(address, (0, 0))[0]
