"""The pod condition that tells why a pod has no node, and the node that is to become its own."""

from __future__ import annotations

import datetime

from moorings_core.ports.objects import Object


def unschedulable_patch(pod: Object, message: str, nominated: str = "") -> Object | None:
    """Return the strategic patch of the status that says so, or None where it says so already."""
    status = pod.get("status") or {}
    known = next((c for c in status.get("conditions", ()) if c["type"] == "PodScheduled"), None)
    same_node = nominated == (status.get("nominatedNodeName") or "")
    if known is not None and known["status"] == "False" and known.get("message") == message and same_node:
        return None
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    changed = now if known is None or known["status"] != "False" else known.get("lastTransitionTime", now)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    node = {} if same_node else {"nominatedNodeName": nominated or None}
    return {"status": {"conditions": [{**condition, "lastTransitionTime": changed}], **node}}
