"""Secrets that the agent of a node may read for the CSI drivers there, whose volumes and snapshots it makes and deletes.

Those are the secrets that classes, volumes and snapshots of these drivers name. A driver whose own sidecars run is none of them: what
is the sidecars' is not every node's. A driver has to be declared by a CSIDriver, which no node can write.
"""

from __future__ import annotations

from collections.abc import Iterator

from moorings_core.api.cache import Cache
from moorings_core.ports.objects import Key, Object
from moorings_core.registry import volume_secrets

SIDECARS = "storage.moorings.dev/sidecars"
STORAGE = "storage.k8s.io"
SNAPSHOT = "snapshot.storage.k8s.io"
CONTENTS = (
    (SNAPSHOT, "volumesnapshotcontents", "VolumeSnapshotContent"),
    ("groupsnapshot.storage.k8s.io", "volumegroupsnapshotcontents", "VolumeGroupSnapshotContent"),
)


def secrets_of_drivers(cache: Cache, node: str) -> Iterator[Key]:
    """Yield the secrets that the drivers of a node need."""
    drivers = set(_drivers(cache, node))
    if not drivers:
        return
    for volume in _all(cache, "", "persistentvolumes"):
        if (volume["spec"].get("csi") or {}).get("driver") in drivers:
            yield from volume_secrets.named_by(volume)
    for group, plural, kind in CONTENTS:
        for content in _all(cache, group, plural):
            if content["spec"]["driver"] in drivers:
                yield from filter(None, [volume_secrets.for_deletion(kind, content)])
    yield from _of_listings(cache, drivers)
    yield from _of_claims(cache, drivers)


def _of_listings(cache: Cache, drivers: set[str]) -> Iterator[Key]:
    classes = {c["metadata"]["name"]: c for c in _all(cache, SNAPSHOT, "volumesnapshotclasses") if c["driver"] in drivers}
    for content in _all(cache, SNAPSHOT, "volumesnapshotcontents") if classes else ():
        parameters = classes.get(content["spec"].get("volumeSnapshotClassName") or "", {}).get("parameters") or {}
        try:
            yield from filter(None, [volume_secrets.for_listing(content, parameters)])
        except ValueError:
            continue


def _of_claims(cache: Cache, drivers: set[str]) -> Iterator[Key]:
    classes = {c["metadata"]["name"]: c for c in _all(cache, STORAGE, "storageclasses") if c["provisioner"] in drivers}
    naming = {name: c["parameters"] for name, c in classes.items() if any("secret-name" in p for p in c.get("parameters") or ())}
    for claim in _all(cache, "", "persistentvolumeclaims") if naming else ():
        parameters = naming.get(claim["spec"].get("storageClassName") or "", {})
        try:
            yield from filter(None, [volume_secrets.of_claim(volume_secrets.PROVISIONER, parameters, claim)])
        except ValueError:
            continue


def _drivers(cache: Cache, node: str) -> Iterator[str]:
    stored = cache.collection(STORAGE, "csinodes").get(Key("", node))
    for entry in (stored.object["spec"].get("drivers") or ()) if stored is not None else ():
        declared = cache.collection(STORAGE, "csidrivers").get(Key("", entry["name"]))
        if declared is not None and (declared.object["metadata"].get("annotations") or {}).get(SIDECARS) != "own":
            yield entry["name"]


def _all(cache: Cache, group: str, plural: str) -> Iterator[Object]:
    return (stored.object for stored in cache.collection(group, plural).select())
