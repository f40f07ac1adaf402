"""How much room drivers have, for the scheduler: one CSIStorageCapacity for each class and each place.

Asked again every REFRESH_SECONDS and whenever a volume came or went there. Source: external-provisioner's capacity controller (KEP-1472).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

from moorings_core.client.informer import Informer
from moorings_core.client.resources import CSI_STORAGE_CAPACITIES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import AlreadyExists, ApiError, NotFound
from moorings_core.ports.objects import Object
from moorings_core.protos import csi_pb2 as csi

from .client import CsiError
from .plugins import Driver, PluginWatcher
from .quantities import quantity
from .reach import Reach

log = get_logger(__name__)
REFRESH_SECONDS, RETRY_SECONDS, SETTLE_SECONDS = 60.0, 1.0, 1.0
NAMESPACE = "kube-system"
PREFIX = "csi.storage.k8s.io/"
MANAGED_BY = {"app.kubernetes.io/managed-by": "moorings"}


class Capacities:
    """Keeps the capacities of the drivers that this agent answers for."""

    def __init__(self, client: Client, reach: Reach, plugins: PluginWatcher, node: str) -> None:
        self._client, self._reach, self._plugins, self._node = client, reach, plugins, node
        self._classes: Informer
        self._asked = asyncio.Event()
        self._written: dict[str, Object] = {}

    def listen(self, classes: Informer, volumes: Informer) -> None:
        """Look again when a class or a volume comes or goes."""
        self._classes = classes
        classes.on_change(lambda old, new: self._asked.set())
        volumes.on_change(self._volume_changed)
        self._reach.csi_drivers.on_change(lambda old, new: self._asked.set())

    def _volume_changed(self, old: Object | None, new: Object | None) -> None:
        volume = new or old
        assert volume is not None
        if (old is None or new is None) and self._reach.answers_for(volume) is not None:
            self._asked.set()

    def look_again(self) -> None:
        """Ask soon."""
        self._asked.set()

    async def run(self) -> None:
        """Keep them until cancelled."""
        while True:
            whole = False
            try:
                whole = await self._refresh()
            except (ApiError, OSError, TimeoutError) as error:
                log.warning("capacities not written", error=str(error))
            try:
                async with asyncio.timeout(REFRESH_SECONDS if whole else RETRY_SECONDS):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            await asyncio.sleep(SETTLE_SECONDS)

    async def _refresh(self) -> bool:
        """Bring the objects to what the drivers say; return whether all of them said something."""
        wanted, whole = {}, True
        for driver, storage_class in self._pairs():
            try:
                made = await self._ask(driver, storage_class)
            except CsiError as error:
                log.warning("capacity not known", driver=driver.name, error=str(error))
                whole = False
                continue
            wanted[made["metadata"]["name"]] = made
        for name, made in wanted.items():
            if self._written.get(name) != made:
                await self._write(made)
                self._written[name] = made
        for name in set(self._written) - set(wanted):
            await self._remove(name)
        return whole

    def _pairs(self) -> Iterator[tuple[Driver, Object]]:
        for storage_class in list(self._classes.items.values()):
            driver = self._reach.driver(storage_class["provisioner"])
            if driver is None or "GET_CAPACITY" not in driver.controller or not self._reach.leads(driver):
                continue
            if self._reach.spec(driver.name).get("storageCapacity"):
                yield driver, storage_class

    async def _ask(self, driver: Driver, storage_class: Object) -> Object:
        parameters = {k: v for k, v in (storage_class.get("parameters") or {}).items() if not k.startswith(PREFIX)}
        place = csi.Topology(segments=driver.topology) if driver.topology else None
        answer = await driver.client.call("GetCapacity", parameters=parameters, accessible_topology=place)
        name = storage_class["metadata"]["name"]
        key = "/".join((driver.name, name, *(f"{k}={v}" for k, v in sorted(driver.topology.items()))))
        made: Object = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIStorageCapacity",
            "metadata": {
                "name": f"csisc-{hashlib.sha256(key.encode()).hexdigest()[:20]}",
                "namespace": NAMESPACE,
                "labels": {**MANAGED_BY, "csi.storage.k8s.io/drivername": driver.name},
            },
            "storageClassName": name,
            "nodeTopology": {"matchLabels": dict(driver.topology)},
            "capacity": quantity(answer.available_capacity),
        }
        if answer.HasField("maximum_volume_size"):
            made["maximumVolumeSize"] = quantity(answer.maximum_volume_size.value)
        return made

    async def _write(self, made: Object) -> None:
        try:
            await self._client.create(CSI_STORAGE_CAPACITIES, made)
        except AlreadyExists:
            changed = {"capacity": made["capacity"], "maximumVolumeSize": made.get("maximumVolumeSize")}
            await self._client.patch(CSI_STORAGE_CAPACITIES, made["metadata"]["name"], NAMESPACE, changed)

    async def _remove(self, name: str) -> None:
        del self._written[name]
        try:
            await self._client.delete(CSI_STORAGE_CAPACITIES, name, NAMESPACE)
        except NotFound:
            return
