"""Claims that ask for more: the driver grows the volume, then the node its file system.

    status.allocatedResources          what the driver was asked for, written before it is asked: quota counts the greater of both
    status.allocatedResourceStatuses   ControllerResizeInProgress, ControllerResizeInfeasible, NodeResizePending,
                                       NodeResizeInProgress, NodeResizeInfeasible; absent when all is done

A size that a driver cannot give is marked infeasible; the claim may then ask for less, though never less than it has.
Source: external-resizer and the kubelet's volume manager (KEP-1790).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import Conflict
from moorings_core.ports.objects import Key, Object, key_of
from moorings_core.protos import csi_pb2 as csi
from moorings_core.registry import volume_secrets
from moorings_core.registry.quantity import parse, to_int

from . import secrets
from .capability import capability_of
from .client import CsiError
from .plugins import Driver, PluginWatcher
from .quantities import quantity
from .reach import Reach
from .volumes import CsiVolumes

log = get_logger(__name__)
EXPANDS = "EXPAND_VOLUME"
INFEASIBLE = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND")
IN_USE = "FAILED_PRECONDITION"
RETRY_SECONDS = 5.0


class Resizer:
    """Grows the volumes that this agent answers for, and the file systems that are mounted on this node."""

    def __init__(self, client: Client, reach: Reach, plugins: PluginWatcher, mounted: CsiVolumes, events: EventRecorder) -> None:
        self._client, self._reach, self._plugins, self._mounted, self._events = client, reach, plugins, mounted, events
        self._claims: Informer
        self._volumes: Informer
        self.work: KeyedWorker[Key] = KeyedWorker("resize", self._claim)

    def listen(self, claims: Informer, volumes: Informer) -> None:
        """Work on claims that change, and on those whose volume is mounted."""
        self._claims, self._volumes = claims, volumes
        claims.on_change(lambda _, new: self.work.add(key_of(new)) if new and (state_of(new) or _wants_more(new)) else None)
        self._mounted.on_mounted.append(self.work.add)

    def look_again(self) -> None:
        """Work on everything that is there."""
        for claim in self._claims.items:
            self.work.add(claim)

    async def _claim(self, key: Key) -> float | None:
        claim = self._claims.get(key.name, key.namespace)
        if claim is None or claim.get("status", {}).get("phase") != "Bound" or "deletionTimestamp" in claim["metadata"]:
            return None
        volume = self._volumes.get(claim["spec"].get("volumeName") or "")
        if volume is None or "csi" not in volume["spec"]:
            return None
        try:
            return await self._step(claim, volume)
        except Conflict:
            return None  # the version that was in the way is on its way here, and brings the key back at once

    async def _step(self, claim: Object, volume: Object) -> float | None:
        state = state_of(claim)
        if state in ("NodeResizePending", "NodeResizeInProgress"):
            return await self._on_node(claim, volume)
        driver = self._reach.answers_for(volume)
        if driver is None or EXPANDS not in driver.controller or not _wants_more(claim):
            return None
        wanted = claim["spec"]["resources"]["requests"]["storage"]
        allocated = (claim["status"].get("allocatedResources") or {}).get("storage")
        if state == "ControllerResizeInfeasible" and allocated == wanted:
            return None  # until the claim asks for another size
        return await self._by_driver(claim, volume, driver, wanted)

    async def _by_driver(self, claim: Object, volume: Object, driver: Driver, wanted: str) -> float | None:
        claim = await self._write(claim, wanted, "ControllerResizeInProgress", condition("Resizing"))
        size = csi.CapacityRange(required_bytes=to_int(wanted))
        try:
            answer = await driver.client.call(
                "ControllerExpandVolume",
                volume_id=volume["spec"]["csi"]["volumeHandle"],
                capacity_range=size,
                volume_capability=capability_of(volume, driver),
                secrets=await secrets.read(self._client, volume_secrets.of_volume(volume, "controllerExpandSecretRef")),
            )
        except CsiError as error:
            self._events.event(claim, "Warning", "VolumeResizeFailed", f"resize volume {volume['metadata']['name']} failed: {error}")
            if error.code in INFEASIBLE:
                await self._write(claim, wanted, "ControllerResizeInfeasible", condition("ControllerResizeError", str(error)))
                return None
            if error.code == IN_USE:
                return RETRY_SECONDS
            raise
        capacity = quantity(answer.capacity_bytes)
        grown = {"spec": {"capacity": {"storage": capacity}}}
        await self._client.patch(PERSISTENT_VOLUMES, volume["metadata"]["name"], "", grown)
        if answer.node_expansion_required and EXPANDS in driver.on_node:
            text = "waiting for the node to grow the file system"
            await self._write(claim, wanted, "NodeResizePending", condition("FileSystemResizePending", text))
        else:
            await self._done(claim, capacity)
        return None

    async def _on_node(self, claim: Object, volume: Object) -> float | None:
        present = await asyncio.to_thread(self._mounted.mounted)
        published = next((p for p in present if p.pv == volume["metadata"]["name"]), None)
        driver = self._plugins.drivers.get(volume["spec"]["csi"]["driver"])
        if published is None or driver is None:
            return None  # the node that has it, or gets it, does this
        wanted = (claim["status"].get("allocatedResources") or {}).get("storage") or claim["spec"]["resources"]["requests"]["storage"]
        try:
            confided = await secrets.read(self._client, volume_secrets.of_volume(volume, "nodeExpandSecretRef"))
            await self._mounted.expand(published, driver, capability_of(volume, driver), to_int(wanted), confided)
        except CsiError as error:
            self._events.event(claim, "Warning", "VolumeResizeFailed", f"growing the file system failed: {error}")
            if error.code == IN_USE:
                return None  # only when it is mounted anew
            if error.code in INFEASIBLE:
                await self._write(claim, wanted, "NodeResizeInfeasible", condition("NodeResizeError", str(error)))
                return None
            raise
        await self._done(claim, str(volume["spec"]["capacity"]["storage"]))
        return None

    async def _done(self, claim: Object, capacity: str) -> None:
        status = {
            "capacity": {"storage": capacity},
            "allocatedResourceStatuses": {"storage": None},
            "conditions": _others(claim),
        }
        await self._patch(claim, status)
        self._events.event(claim, "Normal", "FileSystemResizeSuccessful", f"the volume has {capacity}")

    async def _write(self, claim: Object, wanted: str, state: str, told: Object) -> Object:
        status = {
            "allocatedResources": {"storage": wanted},
            "allocatedResourceStatuses": {"storage": state},
            "conditions": [*_others(claim), told],
        }
        return await self._patch(claim, status)

    async def _patch(self, claim: Object, status: Object) -> Object:
        metadata = claim["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        return await self._client.patch(PERSISTENT_VOLUME_CLAIMS, metadata["name"], metadata["namespace"], patch, subresource="status")


def state_of(claim: Object) -> str:
    """Return how far a resize has come, "" where none is under way."""
    return str((claim.get("status", {}).get("allocatedResourceStatuses") or {}).get("storage") or "")


def condition(kind: str, message: str = "") -> Object:
    """Return a condition of a claim that holds from now on."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told: Object = {"type": kind, "status": "True", "lastTransitionTime": now}
    return told | ({"message": message} if message else {})


def _others(claim: Object) -> Sequence[Object]:
    ours = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")
    return [c for c in claim.get("status", {}).get("conditions") or () if c["type"] not in ours]


def _wants_more(claim: Object) -> bool:
    wanted = claim["spec"].get("resources", {}).get("requests", {}).get("storage")
    has = (claim.get("status", {}).get("capacity") or {}).get("storage")
    return bool(wanted and has and parse(str(wanted)) > parse(str(has)))
