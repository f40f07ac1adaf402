"""Where a claim's content comes from: a snapshot or another claim, and on which node that is.

A volume of a driver that is on every node by itself can only be made where its source is. The agent there says so on the claim, in
an annotation that the scheduler follows (upstream leaves the pod to luck).
"""

from __future__ import annotations

import json

from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_SNAPSHOT_CONTENTS, VOLUME_SNAPSHOTS
from moorings_core.ports.client import Client
from moorings_core.ports.errors import MooringsError, NotFound
from moorings_core.ports.objects import Object
from moorings_core.protos import csi_pb2 as csi

from .client import CsiError
from .plugins import Driver
from .reach import is_reachable

SELECTED_NODE = "volume.kubernetes.io/selected-node"
TOPOLOGY = "storage.moorings.dev/source-topology"
"""JSON of the labels that a node must have to make the claim's volume from its source."""


class SourceNotReady(MooringsError):
    """The snapshot or claim is not there yet, or not ready; the text goes into the claim's event."""


class Sources:
    """Look-ups of what claims are made from."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def content(self, claim: Object, driver: Driver) -> csi.VolumeContentSource | None:
        """Return the source in the driver's words, None for an empty volume. Raises SourceNotReady, ApiError."""
        reference = _reference(claim)
        if reference is None:
            return None
        if reference["kind"] == "PersistentVolumeClaim":
            volume = await self._volume(claim, reference["name"])
            if (volume["spec"].get("csi") or {}).get("driver") != driver.name:
                raise SourceNotReady(f"claim {reference['name']!r} is of another driver than {driver.name}")
            source = csi.VolumeContentSource.VolumeSource(volume_id=volume["spec"]["csi"]["volumeHandle"])
            return csi.VolumeContentSource(volume=source)
        if reference["kind"] == "VolumeSnapshot":
            content = await self._snapshot(claim, reference["name"])
            handle = content["status"]["snapshotHandle"]
            return csi.VolumeContentSource(snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=handle))
        raise SourceNotReady(f"data source of kind {reference['kind']!r} is filled by somebody else")

    async def is_here(self, claim: Object, driver: Driver) -> bool:
        """Whether this driver reaches the claim's source; a claim without one can be made anywhere."""
        reference = _reference(claim)
        try:
            if reference is None:
                return True
            if reference["kind"] == "PersistentVolumeClaim":
                return is_reachable(await self._volume(claim, reference["name"]), driver.topology)
            return await self._has_snapshot(await self._snapshot(claim, reference["name"]), driver)
        except SourceNotReady:
            return False

    async def say_where(self, claim: Object, driver: Driver) -> None:
        """Tell the scheduler where the source of a claim is that waits for its first consumer, whatever was chosen without knowing."""
        if not driver.topology or not await self.is_here(claim, driver):
            return
        metadata = claim["metadata"]
        patch = {"metadata": {"annotations": {TOPOLOGY: json.dumps(dict(driver.topology))}, "uid": metadata["uid"]}}
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, metadata["name"], metadata["namespace"], patch)

    async def _volume(self, claim: Object, name: str) -> Object:
        try:
            source = await self._client.get(PERSISTENT_VOLUME_CLAIMS, name, claim["metadata"]["namespace"])
            if source.get("status", {}).get("phase") != "Bound":
                raise SourceNotReady(f"claim {name!r} is not bound")
            return await self._client.get(PERSISTENT_VOLUMES, source["spec"]["volumeName"])
        except NotFound as error:
            raise SourceNotReady(str(error)) from error

    async def _snapshot(self, claim: Object, name: str) -> Object:
        try:
            snapshot = await self._client.get(VOLUME_SNAPSHOTS, name, claim["metadata"]["namespace"])
            status = snapshot.get("status") or {}
            if not status.get("readyToUse") or not status.get("boundVolumeSnapshotContentName"):
                raise SourceNotReady(f"volume snapshot {name!r} is not ready")
            content = await self._client.get(VOLUME_SNAPSHOT_CONTENTS, status["boundVolumeSnapshotContentName"])
        except NotFound as error:
            raise SourceNotReady(str(error)) from error
        if content["spec"]["volumeSnapshotRef"].get("uid") != snapshot["metadata"]["uid"]:
            raise SourceNotReady(f"the content of volume snapshot {name!r} belongs to another")
        return content

    async def _has_snapshot(self, content: Object, driver: Driver) -> bool:
        if content["spec"]["driver"] != driver.name or "LIST_SNAPSHOTS" not in driver.controller:
            return bool(content["spec"]["driver"] == driver.name)
        try:
            found = await driver.client.call("ListSnapshots", snapshot_id=content["status"]["snapshotHandle"])
        except CsiError:
            return False
        return bool(found.entries)


def chosen_node(claim: Object) -> str:
    """Return the node that the scheduler has chosen for a claim, "" where it has not."""
    return str((claim["metadata"].get("annotations") or {}).get(SELECTED_NODE) or "")


def is_sought(claim: Object) -> bool:
    """Whether a claim has a source of which nobody has said yet where it is."""
    annotations, spec = claim["metadata"].get("annotations") or {}, claim["spec"]
    return _reference(claim) is not None and not spec.get("volumeName") and TOPOLOGY not in annotations


def _reference(claim: Object) -> Object | None:
    spec = claim["spec"]
    found: Object | None = spec.get("dataSource") or spec.get("dataSourceRef")
    return found
