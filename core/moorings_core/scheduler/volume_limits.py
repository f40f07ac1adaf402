"""How many volumes of each driver a node takes, as its CSINode says, and whether the driver is there at all.

A volume counts once however many pods of the node use it; one that is still attached though no pod uses it counts, too. A claim
that has no volume yet counts under the provisioner of its class. Source: kube-scheduler's NodeVolumeLimits plugin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from dataclasses import dataclass

from moorings_core.ports.objects import Key, Object

from .volumes import NO_PROVISIONER, VolumeView, claim_names

TOO_MANY = "node(s) exceed max volume count"

Volumes = dict[str, str]
"""What is unique of a volume, its driver and its handle, to its driver."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """Look-ups of what nodes have."""

    csi_node: Callable[[str], Object | None]
    claims_on: Callable[[str, Container[Key]], Collection[Key]]
    """A node to the claims of its pods but those named"""
    attachments_on: Callable[[str], Sequence[Object]]


def volumes_of(claims: Iterable[Key], view: VolumeView) -> Volumes:
    """Return the volumes of those claims that a CSI driver has made or is to make."""
    found = (_volume_of(claim, view) for claim in claims)
    return {f"{driver}/{handle}": driver for driver, handle in found if driver}


def wanted_by(pod: Object, view: VolumeView) -> Volumes:
    """Return the volumes that a pod brings to whichever node it goes to."""
    return volumes_of((Key(pod["metadata"]["namespace"], name) for name in claim_names(pod)), view)


def reason_against(wanted: Volumes, node: str, view: VolumeView, nodes: NodeView, leaving: Container[Key] = ()) -> str:
    """Return why a node cannot take the volumes, or ""; pods that leave use none there."""
    if not wanted:
        return ""
    needed, limits, csi_node = set(wanted.values()), {}, nodes.csi_node(node)
    for entry in (csi_node["spec"].get("drivers") or ()) if csi_node is not None else ():
        if entry["name"] in needed:
            needed.discard(entry["name"])
            count = (entry.get("allocatable") or {}).get("count")
            if count is not None:
                limits[entry["name"]] = count
    missing = sorted(driver for driver in needed if _must_be_there(driver, view))
    if missing:
        return f"{missing[0]} CSI driver is not installed on the node"
    if not limits:
        return ""
    present = volumes_of(nodes.claims_on(node, leaving), view) | _attached(nodes.attachments_on(node), view)
    counts = Counter((present | wanted).values())
    more = {driver for name, driver in wanted.items() if name not in present}
    return TOO_MANY if any(counts[driver] > limits[driver] for driver in more if driver in limits) else ""


def _must_be_there(driver: str, view: VolumeView) -> bool:
    declared = view.driver(driver)
    return declared is not None and bool(declared["spec"].get("preventPodSchedulingIfMissing"))


def _volume_of(key: Key, view: VolumeView) -> tuple[str, str]:
    claim = view.claim(key.name, key.namespace)
    if claim is None:
        return "", ""
    volume = view.volume(claim["spec"].get("volumeName") or "")
    if volume is not None:
        source = volume["spec"].get("csi") or {}
        return source.get("driver", ""), source.get("volumeHandle", "")
    storage_class = view.storage_class(claim["spec"].get("storageClassName") or "")
    if storage_class is None or storage_class["provisioner"] == NO_PROVISIONER:
        return "", ""
    return storage_class["provisioner"], f"claim {key}"


def _attached(attachments: Sequence[Object], view: VolumeView) -> Volumes:
    found: Volumes = {}
    for attachment in attachments:
        driver = attachment["spec"]["attacher"]
        volume = view.volume(attachment["spec"]["source"].get("persistentVolumeName") or "")
        source = volume["spec"].get("csi") if volume is not None else None
        if source:
            found[f"{driver}/{source['volumeHandle']}"] = driver
    return found
