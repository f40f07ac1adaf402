"""Bandwidth of a pod (CNI capability `bandwidth`, annotations kubernetes.io/ingress-bandwidth and egress-bandwidth).

Each direction is a token bucket at the sending end of the pod's veth pair: towards the pod on the node's end, from the pod on
the pod's own. A sender that has its queue at its own end is slowed down instead of losing packets, and no further device is
needed. A pod with NET_ADMIN can take its own end's away; CHECK tells.
"""

from __future__ import annotations

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.rtnetlink import Request
from moorings_core.kernel.rtnetlink.shaping import TokenBucket, put_bucket
from moorings_core.ports.network import Attachment

LEAST_BURST, LONGEST_BURST = 1 << 16, 0.25
"""Bytes, and seconds at full rate. Runtimes ask for a burst of hundreds of megabytes where a pod only names a rate: it would
not be limited for its first minutes."""
QUEUE = 0.1
"""Seconds at full rate that packets may wait."""


def wanted(attachment: Attachment, *, ingress: bool) -> TokenBucket | None:
    """Return what limits traffic to (ingress) or from a pod; None without a limit. The runtime speaks of bits."""
    limits = attachment.bandwidth
    rate, burst = (limits.ingress_rate, limits.ingress_burst) if ingress else (limits.egress_rate, limits.egress_burst)
    if not rate:
        return None
    most = max(int(rate / 8 * LONGEST_BURST), LEAST_BURST)
    return TokenBucket(max(rate // 8, 1), min(max(burst // 8, LEAST_BURST), most))


def requests(attachment: Attachment, *, ingress: bool) -> list[Request]:
    """Return what limits one end of the pair; the link is there."""
    bucket = wanted(attachment, ingress=ingress)
    if bucket is None:
        return []
    return [put_bucket(attachment.index, bucket, bucket.burst + max(int(bucket.rate * QUEUE), LEAST_BURST))]


def differences(attachment: Attachment, where: rtnetlink.Connection, link: int, *, ingress: bool) -> list[str]:
    """Return what is not as it should be at one end, in words."""
    bucket = wanted(attachment, ingress=ingress)
    found = where.buckets().get(link)
    if bucket is None or found == bucket.rate:
        return []
    side = "ingress" if ingress else "egress"
    return [f"{side} bandwidth is {found * 8 if found else 'not'} limited{' to bits a second' if found else ''}, not to {bucket.rate * 8}"]
