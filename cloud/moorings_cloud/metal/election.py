"""Who answers for an address: one node at a time, by a Lease. Pure; time is the caller's monotonic clock.

Clocks of machines are never compared. A follower counts from the moment it saw the Lease change, a holder from the moment
before it asked for its last renewal that succeeded; as the latter is earlier than anybody's sight of it, and the holder gives
up before `DURATION`, two never answer at once. Source: coordination.k8s.io/v1 Lease.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from typing import Literal

from moorings_core.ports.objects import Object

DURATION, RENEW, GIVE_UP = 3.0, 1.0, 2.0
SPREAD = 0.3
Action = Literal["", "acquire", "renew", "release"]


@dataclass(slots=True)
class Election:
    """One node's part in the election for one Service. lease: as last seen, at time seen; None: there is none."""

    node: str
    name: str
    lease: Object | None = None
    seen: float = float("-inf")
    renewed: float = float("-inf")

    @property
    def holder(self) -> str:
        """Who holds the Lease; "" when nobody does."""
        return str((self.lease or {}).get("spec", {}).get("holderIdentity") or "")

    def observe(self, lease: Object | None, now: float) -> None:
        """Take in the Lease from a cache, which may be behind what this node has just written."""
        behind = _version(lease) < _version(self.lease) if lease else now < self.renewed + RENEW
        if behind:
            return
        if self.seen == float("-inf") or _version(lease) != _version(self.lease):
            self.lease, self.seen = lease, now

    def holds(self, now: float) -> bool:
        """Whether this node may answer now."""
        return self.holder == self.node and now < self.renewed + GIVE_UP

    def action(self, eligible: bool, now: float) -> Action:
        """Return what to do with the Lease now."""
        if self.holder == self.node:
            if not eligible:
                return "release"
            return "renew" if now >= self.renewed + RENEW else ""
        if not eligible:
            return ""
        free = self.seen if not self.holder else self.seen + DURATION
        return "acquire" if now >= free + self.delay else ""

    def wait(self, eligible: bool, now: float, *, writing: bool) -> float:
        """Return in how many seconds `action` or `holds` may change if nothing is observed; writing: an action is under way."""
        moments = [now + RENEW]
        if self.holder == self.node:
            moments += [self.renewed + GIVE_UP] if writing else [self.renewed + RENEW, self.renewed + GIVE_UP]
        elif eligible and not writing:
            moments.append((self.seen if not self.holder else self.seen + DURATION) + self.delay)
        return max(min(moment for moment in moments if moment > now) - now, 0.001)

    @property
    def delay(self) -> float:
        """Seconds to wait before taking a free Lease: differs by node and Service, so that addresses spread over nodes."""
        digest = hashlib.sha256(f"{self.node}/{self.name}".encode()).digest()
        return SPREAD * int.from_bytes(digest[:4], "big") / 2**32

    def took(self, lease: Object, asked: float) -> None:
        """Note that this node's write of the Lease, begun at time asked, succeeded."""
        self.lease, self.seen = lease, asked
        self.renewed = asked if self.holder == self.node else float("-inf")


def _version(lease: Object | None) -> int:
    """Return a resourceVersion as the number it is: needed only to tell older from newer (KEP-5504)."""
    return int(lease["metadata"].get("resourceVersion") or 0) if lease else 0


def lease_spec(node: str, previous: Object | None) -> Object:
    """Return the spec that this node writes; a change of holder is counted."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    old: Object = (previous or {}).get("spec") or {}
    mine = old.get("holderIdentity") == node
    transitions = int(old.get("leaseTransitions") or 0) + (0 if mine or not previous else 1)
    acquired = old.get("acquireTime", now) if mine else now
    return {
        "holderIdentity": node,
        "leaseDurationSeconds": int(DURATION),
        "acquireTime": acquired,
        "renewTime": now,
        "leaseTransitions": transitions,
    }
