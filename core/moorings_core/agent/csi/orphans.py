"""Volumes that a driver has and the cluster does not know: told, never deleted. An intent is durable before CreateVolume and until the
PersistentVolume is there, so that there are none unless somebody took a finalizer off or made volumes by hand."""

from __future__ import annotations

import asyncio

from moorings_core.client.informer import Informer
from moorings_core.log import get_logger
from moorings_core.measures import Measure, told_by

from .client import CsiError
from .plugins import Driver, PluginWatcher
from .reach import Reach

log = get_logger(__name__)
LOOK_SECONDS = 300.0
PAGE = 500
NAME, HELP = "moorings_csi_orphaned_volumes", "Volumes of a driver that no PersistentVolume names"


class Orphans:
    """Compares ListVolumes with PersistentVolumes, of the drivers that this agent answers for."""

    def __init__(self, reach: Reach, plugins: PluginWatcher, volumes: Informer) -> None:
        self._reach, self._plugins, self._volumes = reach, plugins, volumes
        self._before: dict[str, frozenset[str]] = {}
        self._counts: dict[str, int] = {}

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        with told_by(lambda: [Measure(NAME, HELP, (("driver", d),), n, "gauge") for d, n in self._counts.items()]):
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                for name in list(self._plugins.drivers):
                    driver = self._reach.driver(name)
                    if driver is not None and "LIST_VOLUMES" in driver.controller and self._reach.leads(driver):
                        await self.look(driver)

    async def look(self, driver: Driver) -> frozenset[str]:
        """Return the ids of volumes that nobody knew twice in a row: once may be a volume that is just being made."""
        try:
            present = await _ids(driver)
        except CsiError as error:
            log.warning("volumes not listed", driver=driver.name, error=str(error))
            return frozenset()
        known = {(v["spec"].get("csi") or {}).get("volumeHandle") for v in self._volumes.items.values()}
        unknown = frozenset(present - known)
        lasting = unknown & self._before.get(driver.name, frozenset())
        self._before[driver.name] = unknown
        self._counts[driver.name] = len(lasting)
        for handle in sorted(lasting):
            log.warning("volume of no PersistentVolume", driver=driver.name, volume=handle)
        return lasting


async def _ids(driver: Driver) -> set[str]:
    found: set[str] = set()
    token = ""
    while True:
        answer = await driver.client.call("ListVolumes", max_entries=PAGE, starting_token=token)
        found |= {entry.volume.volume_id for entry in answer.entries}
        token = answer.next_token
        if not token:
            return found
