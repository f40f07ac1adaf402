"""What updates of a CertificateSigningRequest may change, by subresource.

Source: upstream's strategies of certificates.k8s.io.
"""

from __future__ import annotations

import time

from moorings_core.ports.objects import Object

SUBRESOURCES = ("status", "approval")
DECIDED = ("Approved", "Denied")


def prepare_update(new: Object, old: Object, subresource: str, asked: Object | None) -> None:
    """Put into `new` what an update may change of the request: nothing of spec; asked is the status that the client gave."""
    new["spec"] = old["spec"]
    before, given = old.get("status") or {}, asked or {}
    if subresource not in SUBRESOURCES:
        new["status"] = before
        return
    conditions = [_timed(condition, before) for condition in given.get("conditions") or ()]
    if subresource == "approval":
        new["status"] = {**before, "conditions": conditions} if conditions or "conditions" in before else before
        return
    kept = [_kept(condition, before) for condition in conditions]
    new["status"] = {**given, "conditions": kept} if kept else {k: v for k, v in given.items() if k != "conditions"}


def _kept(condition: Object, before: Object) -> Object:
    """A decision is not changed by who writes the status."""
    if condition.get("type") not in DECIDED:
        return condition
    return next((old for old in before.get("conditions") or () if old["type"] == condition["type"]), condition)


def _timed(condition: Object, before: Object) -> Object:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    same = (old for old in before.get("conditions") or () if (old["type"], old["status"]) == (condition["type"], condition.get("status")))
    last = next((old["lastTransitionTime"] for old in same if old.get("lastTransitionTime")), now)
    return {
        **condition,
        "lastUpdateTime": condition.get("lastUpdateTime") or now,
        "lastTransitionTime": condition.get("lastTransitionTime") or last,
    }
