"""The node's side of attaching: it says which volumes it uses, and mounts none before the attachment is there.

A volume in Node.status.volumesInUse is not taken from the node while the node lives: it is entered before the first mount and
removed after the last unmount. Source: upstream's attach/detach controller and kubelet.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moorings_core.client.resources import NODES, VOLUME_ATTACHMENTS
from moorings_core.ports.client import Client
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

from .errors import VolumeNotReady

if TYPE_CHECKING:
    from .volumes import Published

WAIT_SECONDS, POLL_SECONDS = 20.0, 0.1


class Attachments:
    """What is attached to this node."""

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self._told: list[str] | None = None
        self._telling = asyncio.Lock()

    async def use(self, published: Iterable[Published]) -> None:
        """Say which volumes this node uses. Raises ApiError."""
        async with self._telling:
            names = sorted({unique_name(p.driver, p.handle) for p in published if p.attached})
            if names != self._told:
                patch = {"status": {"volumesInUse": names or None}}
                await self._client.patch(NODES, self._node, "", patch, type="merge", subresource="status")
                self._told = names

    async def wait(self, driver: str, handle: str) -> dict[str, str]:
        """Return what the driver said when it attached the volume. Raises VolumeNotReady with what is in the way."""
        name, end = attachment_name(driver, handle, self._node), asyncio.get_running_loop().time() + WAIT_SECONDS
        while True:
            status = await self._status(name)
            if status.get("attached"):
                return dict(status.get("attachmentMetadata") or {})
            if asyncio.get_running_loop().time() > end:
                reason = (status.get("attachError") or {}).get("message", "no attachment yet")
                raise VolumeNotReady(f"volume {handle} is not attached to {self._node}: {reason}")
            await asyncio.sleep(POLL_SECONDS)

    async def _status(self, name: str) -> Object:
        try:
            return (await self._client.get(VOLUME_ATTACHMENTS, name)).get("status") or {}
        except NotFound:
            return {}


def attachment_name(driver: str, handle: str, node: str) -> str:
    """Return the name of the VolumeAttachment, the same as upstream's."""
    return "csi-" + hashlib.sha256(f"{handle}{driver}{node}".encode()).hexdigest()


def unique_name(driver: str, handle: str) -> str:
    """Return a volume's name in a Node's status."""
    return f"kubernetes.io/csi/{driver}^{handle}"
