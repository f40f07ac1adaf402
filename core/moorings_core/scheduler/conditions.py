"""The pod condition that tells why a pod has no node."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object


def unschedulable_patch(pod: Object, message: str) -> Object | None:
    """Return the strategic patch of the status that says so, or None where it says so already."""
    known = next((c for c in pod.get("status", {}).get("conditions", ()) if c["type"] == "PodScheduled"), None)
    if known is not None and known["status"] == "False" and known.get("message") == message:
        return None
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    changed = now if known is None or known["status"] != "False" else known.get("lastTransitionTime", now)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"status": {"conditions": [{**condition, "lastTransitionTime": changed}]}}
