"""How full the volumes of this node's pods are, in /metrics under the kubelet's names, and events about those that are not well.

All are asked every LOOK_SECONDS; soon after a volume is mounted those that are new. Source: CSI NodeGetVolumeStats, kubelet_volume_stats_*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS
from moorings_core.log import get_logger
from moorings_core.measures import Measure, told_by
from moorings_core.ports.objects import Object
from moorings_core.protos import csi_pb2 as csi

from .client import CsiError
from .volumes import CsiVolumes, Published

log = get_logger(__name__)
LOOK_SECONDS, SETTLE_SECONDS = 60.0, 0.5
PREFIX = "kubelet_volume_stats_"
NOTHING: Mapping[str, list[Measure]] = MappingProxyType({})
NAMES = {
    csi.VolumeUsage.BYTES: (("total", "capacity_bytes"), ("available", "available_bytes"), ("used", "used_bytes")),
    csi.VolumeUsage.INODES: (("total", "inodes"), ("available", "inodes_free"), ("used", "inodes_used")),
}


class VolumeStats:
    """Asks the drivers of mounted volumes."""

    def __init__(self, mounted: CsiVolumes, volumes: Informer, events: EventRecorder) -> None:
        self._mounted, self._volumes, self._events = mounted, volumes, events
        self._asked = asyncio.Event()
        self._told: dict[str, list[Measure]] = {}
        """By the volume's handle"""
        self._unwell: set[str] = set()

    def ask_soon(self) -> None:
        """Look again, as something was mounted."""
        self._asked.set()

    async def run(self) -> None:
        """Look until cancelled."""
        with told_by(lambda: [measure for measures in self._told.values() for measure in measures]):
            while True:
                await self._look()
                end = asyncio.get_running_loop().time() + LOOK_SECONDS
                while await self._is_asked_before(end):
                    self._asked.clear()
                    await asyncio.sleep(SETTLE_SECONDS)
                    await self._look(self._told)

    async def _look(self, known: Mapping[str, list[Measure]] = NOTHING) -> None:
        """Ask about the mounted volumes but those that are known; what is not mounted any more is told no more."""
        present = _once_each(await asyncio.to_thread(self._mounted.mounted))
        self._told = {handle: known[handle] if handle in known else await self._ask(published) for handle, published in present.items()}

    async def _is_asked_before(self, end: float) -> bool:
        """Wait until something was mounted, or all are to be asked again."""
        try:
            async with asyncio.timeout_at(end):
                await self._asked.wait()
        except TimeoutError:
            return False
        return True

    async def _ask(self, published: Published) -> list[Measure]:
        volume = self._volumes.get(published.pv)
        reference: Object = (volume or {"spec": {}})["spec"].get("claimRef") or {}
        if not reference:
            return []
        try:
            answer = await self._mounted.stats(published)
        except CsiError as error:
            log.info("no figures of a volume", volume=published.pv, error=str(error))
            return []
        if answer is None:
            return []
        labels = (("namespace", reference["namespace"]), ("persistentvolumeclaim", reference["name"]))
        found = [
            Measure(PREFIX + name, f"Of a volume: {name}", labels, getattr(usage, field), "gauge")
            for usage in answer.usage
            for field, name in NAMES.get(usage.unit, ())
        ]
        if answer.HasField("volume_condition"):
            self._judge(published, reference, answer.volume_condition)
            abnormal = float(answer.volume_condition.abnormal)
            found.append(Measure(PREFIX + "health_status_abnormal", "Whether a volume is not well", labels, abnormal, "gauge"))
        return found

    def _judge(self, published: Published, reference: Object, condition: csi.VolumeCondition) -> None:
        """Tell the claim once when its volume becomes unwell, and once when it is well again."""
        if condition.abnormal == (published.pv in self._unwell):
            return
        metadata = {k: reference[k] for k in ("name", "namespace", "uid")}
        claim = {"apiVersion": "v1", "kind": PERSISTENT_VOLUME_CLAIMS.kind, "metadata": metadata}
        if condition.abnormal:
            self._unwell.add(published.pv)
            self._events.event(claim, "Warning", "VolumeConditionAbnormal", condition.message)
        else:
            self._unwell.discard(published.pv)
            self._events.event(claim, "Normal", "VolumeConditionNormal", condition.message)


def _once_each(published: Iterable[Published]) -> dict[str, Published]:
    """Return one place for each volume of a claim, by its handle; inline volumes have no claim to be told under."""
    return {p.handle: p for p in published if not p.inline}
