"""Claims that ask for other attributes: the driver changes the volume in use. Source: external-resizer's modify controller (KEP-3751)."""

from __future__ import annotations

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES
from moorings_core.ports.client import Client
from moorings_core.ports.errors import Conflict, NotFound
from moorings_core.ports.objects import Key, Object, key_of

from .client import CsiError
from .plugins import Driver
from .reach import Reach
from .resizer import condition

MODIFIES = "MODIFY_VOLUME"
INFEASIBLE = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND")
CLASS_WAIT = 5.0


class Modifier:
    """Changes the volumes that this agent answers for."""

    def __init__(self, client: Client, reach: Reach, events: EventRecorder) -> None:
        self._client, self._reach, self._events = client, reach, events
        self._claims: Informer
        self._volumes: Informer
        self.work: KeyedWorker[Key] = KeyedWorker("modify", self._claim)

    def listen(self, claims: Informer, volumes: Informer) -> None:
        """Work on claims that change."""
        self._claims, self._volumes = claims, volumes
        claims.on_change(lambda _, new: self.work.add(key_of(new)) if new and new["spec"].get("volumeAttributesClassName") else None)

    def look_again(self) -> None:
        """Work on everything that is there."""
        for claim in self._claims.items:
            self.work.add(claim)

    async def _claim(self, key: Key) -> float | None:
        claim = self._claims.get(key.name, key.namespace)
        if claim is None or claim.get("status", {}).get("phase") != "Bound":
            return None
        wanted, status = claim["spec"].get("volumeAttributesClassName"), claim["status"]
        volume = self._volumes.get(claim["spec"]["volumeName"])
        under_way = status.get("modifyVolumeStatus") or {}
        current = status.get("currentVolumeAttributesClassName") == wanted
        given_up = current and under_way.get("status") in ("Infeasible", "Pending")
        if not wanted or volume is None or (current and not given_up):
            return None
        driver = self._reach.answers_for(volume)
        if driver is None or MODIFIES not in driver.controller:
            return None
        if given_up:  # it asks for what it has: what could not be done is asked for no more
            await self._tell(claim, {"modifyVolumeStatus": None, "conditions": _others(claim) or None})
            return None
        if under_way.get("status") == "Infeasible" and under_way.get("targetVolumeAttributesClassName") == wanted:
            return None  # until the claim asks for another class
        try:
            return await self._modify(claim, volume, wanted, driver)
        except Conflict:
            return None  # the version that was in the way is on its way here, and brings the key back at once

    async def _modify(self, claim: Object, volume: Object, wanted: str, driver: Driver) -> float | None:
        try:
            attributes = await self._client.get(VOLUME_ATTRIBUTES_CLASSES, wanted)
        except NotFound:
            await self._tell(claim, {"modifyVolumeStatus": {"targetVolumeAttributesClassName": wanted, "status": "Pending"}})
            return CLASS_WAIT
        if volume["spec"].get("volumeAttributesClassName") != wanted:
            under_way = {"targetVolumeAttributesClassName": wanted, "status": "InProgress"}
            conditions = [*_others(claim), condition("ModifyingVolume")]
            claim = await self._tell(claim, {"modifyVolumeStatus": under_way, "conditions": conditions})
            handle, parameters = volume["spec"]["csi"]["volumeHandle"], attributes.get("parameters") or {}
            try:
                await driver.client.call("ControllerModifyVolume", volume_id=handle, mutable_parameters=parameters)
            except CsiError as error:
                self._events.event(claim, "Warning", "VolumeModifyFailed", f"failed to modify volume: {error}")
                if error.code not in INFEASIBLE:
                    raise
                failed = {"targetVolumeAttributesClassName": wanted, "status": "Infeasible"}
                conditions = [*_others(claim), condition("ModifyVolumeError", str(error))]
                await self._tell(claim, {"modifyVolumeStatus": failed, "conditions": conditions})
                return None
            patch = {"spec": {"volumeAttributesClassName": wanted}}
            await self._client.patch(PERSISTENT_VOLUMES, volume["metadata"]["name"], "", patch)
        done = {"currentVolumeAttributesClassName": wanted, "modifyVolumeStatus": None, "conditions": _others(claim) or None}
        await self._tell(claim, done)
        self._events.event(claim, "Normal", "VolumeModifySuccessful", f"volume has the attributes of {wanted}")
        return None

    async def _tell(self, claim: Object, status: Object) -> Object:
        metadata = claim["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        return await self._client.patch(PERSISTENT_VOLUME_CLAIMS, metadata["name"], metadata["namespace"], patch, subresource="status")


def _others(claim: Object) -> list[Object]:
    """Return the conditions of a claim that are not of its attributes."""
    return [c for c in claim.get("status", {}).get("conditions") or () if c["type"] not in ("ModifyingVolume", "ModifyVolumeError")]
