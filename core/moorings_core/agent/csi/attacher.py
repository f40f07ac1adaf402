"""VolumeAttachments made true: the driver is told which node is to have a volume, and which no more.

The attachment's finalizer is there before ControllerPublishVolume and until ControllerUnpublishVolume is done, so that no crash
leaves a volume with a node. A driver that publishes nothing is answered for: attached.
Source: external-attacher; CSI ControllerPublishVolume.
"""

from __future__ import annotations

from datetime import UTC, datetime

from moorings_core.client.informer import Informer
from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import CSI_NODES, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object
from moorings_core.registry import volume_secrets

from . import secrets
from .capability import volume_capability
from .client import CsiError
from .finalizers import has, set_finalizers, with_, without
from .plugins import Driver
from .reach import Reach

log = get_logger(__name__)
VOLUME_WAIT = 1.0
PUBLISHES = "PUBLISH_UNPUBLISH_VOLUME"


class Attacher:
    """Works on the attachments of the drivers that this agent answers for."""

    def __init__(self, client: Client, reach: Reach, volumes: Informer) -> None:
        self._client, self._reach, self._volumes = client, reach, volumes
        self.attachments = Informer(client, VOLUME_ATTACHMENTS)
        self.work: KeyedWorker[str] = KeyedWorker("attach", self._attachment)

    def listen(self) -> None:
        """Work on what changes."""
        self.attachments.on_change(lambda _, new: self.work.add(new["metadata"]["name"]) if new else None)

    def look_again(self) -> None:
        """Work on everything that is there."""
        for attachment in self.attachments.items:
            self.work.add(attachment.name)

    async def _attachment(self, name: str) -> float | None:
        attachment = self.attachments.get(name)
        if attachment is None:
            return None
        volume = self._volumes.get(attachment["spec"]["source"].get("persistentVolumeName") or "")
        driver = self._reach.driver(attachment["spec"]["attacher"])
        if driver is None:
            return None
        if volume is None and not _finalized(attachment):
            return VOLUME_WAIT
        if not (self._reach.leads(driver) if volume is None else self._reach.answers_for(volume)):
            return None
        if "deletionTimestamp" in attachment["metadata"]:
            await self._detach(attachment, volume, driver)
        elif volume is not None and not attachment.get("status", {}).get("attached"):
            await self._attach(attachment, volume, driver)
        return None

    async def _attach(self, attachment: Object, volume: Object, driver: Driver) -> None:
        finalizer = finalizer_of(driver.name)
        if not has(attachment, finalizer):
            attachment = await set_finalizers(self._client, VOLUME_ATTACHMENTS, attachment, with_(attachment, finalizer))
        context: dict[str, str] = {}
        if PUBLISHES in driver.controller:
            if not has(volume, finalizer):
                await set_finalizers(self._client, PERSISTENT_VOLUMES, volume, with_(volume, finalizer))
            try:
                context = await self._publish(attachment, volume, driver)
            except CsiError as error:
                await self._tell(attachment, "attachError", str(error))
                raise
        status = {"attached": True, "attachError": None, "attachmentMetadata": context or None}
        await self._client.patch(VOLUME_ATTACHMENTS, attachment["metadata"]["name"], "", {"status": status}, subresource="status")

    async def _publish(self, attachment: Object, volume: Object, driver: Driver) -> dict[str, str]:
        spec, source = volume["spec"], volume["spec"]["csi"]
        capability = volume_capability(
            spec["accessModes"],
            block=spec.get("volumeMode") == "Block",
            fs_type=source.get("fsType", ""),
            mount_options=spec.get("mountOptions") or (),
            many_writers="SINGLE_NODE_MULTI_WRITER" in driver.controller,
        )
        answer = await driver.client.call(
            "ControllerPublishVolume",
            volume_id=source["volumeHandle"],
            node_id=await self._node_id(attachment, driver),
            volume_capability=capability,
            readonly=bool(source.get("readOnly")) and "PUBLISH_READONLY" in driver.controller,
            volume_context=source.get("volumeAttributes") or {},
            secrets=await self._secrets(volume),
        )
        return dict(answer.publish_context)

    async def _detach(self, attachment: Object, volume: Object | None, driver: Driver) -> None:
        finalizer = finalizer_of(driver.name)
        if not has(attachment, finalizer):
            return
        if PUBLISHES in driver.controller and volume is not None:
            node = await self._node_id(attachment, driver)
            try:
                handle = volume["spec"]["csi"]["volumeHandle"]
                await driver.client.call("ControllerUnpublishVolume", volume_id=handle, node_id=node, secrets=await self._secrets(volume))
            except CsiError as error:
                if error.code != "NOT_FOUND":  # the volume or the node is gone, and the attachment with it
                    await self._tell(attachment, "detachError", str(error))
                    raise
        await set_finalizers(self._client, VOLUME_ATTACHMENTS, attachment, without(attachment, finalizer))
        others = [a for a in self.attachments.items.values() if a is not attachment and _volume_of(a) == _volume_of(attachment)]
        if volume is not None and not others and has(volume, finalizer):
            volume = await self._client.get(PERSISTENT_VOLUMES, volume["metadata"]["name"])
            await set_finalizers(self._client, PERSISTENT_VOLUMES, volume, without(volume, finalizer))

    async def _secrets(self, volume: Object) -> dict[str, str]:
        return await secrets.read(self._client, volume_secrets.of_volume(volume, "controllerPublishSecretRef"))

    async def _node_id(self, attachment: Object, driver: Driver) -> str:
        """Return the driver's name for the node; without one (the node's object is gone) the node's own name."""
        try:
            known = await self._client.get(CSI_NODES, attachment["spec"]["nodeName"])
        except NotFound:
            return str(attachment["spec"]["nodeName"])
        found = [d["nodeID"] for d in known["spec"].get("drivers") or () if d["name"] == driver.name]
        return str(found[0] if found else attachment["spec"]["nodeName"])

    async def _tell(self, attachment: Object, field: str, message: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {"attached": field == "detachError", field: {"message": message, "time": now}}
        await self._client.patch(VOLUME_ATTACHMENTS, attachment["metadata"]["name"], "", {"status": status}, subresource="status")


def finalizer_of(driver: str) -> str:
    """Return the finalizer of attachments and attached volumes, as external-attacher spells it."""
    return f"external-attacher/{driver.replace('.', '-')}"


def _finalized(attachment: Object) -> bool:
    return has(attachment, finalizer_of(attachment["spec"]["attacher"]))


def _volume_of(attachment: Object) -> str:
    return str(attachment["spec"]["source"].get("persistentVolumeName") or "")
