"""What upstream has in sidecar containers beside each driver, for every driver that registers on this node.

    provisioner  claims to volumes, released volumes to nothing      attacher     VolumeAttachments
    resizer      claims that ask for more                            modifier     claims that ask for other attributes
    snapshotter  VolumeSnapshots, and VolumeGroupSnapshots           capacities   room, for the scheduler
    orphans      volumes that nobody knows                           stats        how full volumes are (the kubelet's)

All share one list and one watch of each kind. What is rare (attachments, snapshots) is watched once a driver needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from moorings_core.client.events import EventRecorder
from moorings_core.log import get_logger
from moorings_core.ports.client import Client

from .attacher import Attacher
from .capacities import Capacities
from .group_snapshotter import CREATES, GroupSnapshotter
from .modifier import Modifier
from .orphans import Orphans
from .plugins import Driver, PluginWatcher
from .provisioner import Provisioner
from .reach import Reach
from .resizer import Resizer
from .snapshotter import Snapshotter
from .sources import Sources
from .stats import VolumeStats
from .volumes import CsiVolumes

log = get_logger(__name__)
LOOK_SECONDS = 1.0
SYNC_SECONDS = 600.0


class Sidecars:
    """Runs them all on one set of informers."""

    def __init__(self, client: Client, plugins: PluginWatcher, reach: Reach, mounted: CsiVolumes, node: str, events: EventRecorder) -> None:
        self._plugins, self._reach = plugins, reach
        self._provisioner = Provisioner(client, reach, Sources(client), node, events)
        self._attacher = Attacher(client, reach, self._provisioner.volumes)
        self._resizer = Resizer(client, reach, plugins, mounted, events)
        self._modifier = Modifier(client, reach, events)
        self._capacities = Capacities(client, reach, plugins, node)
        self._orphans = Orphans(reach, plugins, self._provisioner.volumes)
        self._stats = VolumeStats(mounted, self._provisioner.volumes, events)
        mounted.on_mounted.append(lambda claim: self._stats.ask_soon())
        claims, volumes = self._provisioner.claims, self._provisioner.volumes
        self._snapshotter = Snapshotter(client, reach, claims, volumes, events)
        self._grouper = GroupSnapshotter(client, reach, claims, volumes, self._snapshotter, events)

    async def run(self) -> None:
        """Run until cancelled."""
        made = self._provisioner
        made.listen()
        self._plugins.on_registered.append(self._look_again)
        self._resizer.listen(made.claims, made.volumes)
        self._modifier.listen(made.claims, made.volumes)
        self._capacities.listen(made.classes, made.volumes)
        async with asyncio.TaskGroup() as tasks:
            informers = (made.claims, made.volumes, made.classes, *self._reach.informers)
            for informer in informers:
                tasks.create_task(informer.run())
            for informer in informers:
                await informer.synced(SYNC_SECONDS)
            for work in (*made.work, self._resizer.work, self._modifier.work):
                tasks.create_task(work.run())
            tasks.create_task(self._capacities.run())
            tasks.create_task(self._orphans.run())
            tasks.create_task(self._stats.run())
            tasks.create_task(self._once(self._is_attached, self._attach))
            tasks.create_task(self._once(lambda driver: "CREATE_DELETE_SNAPSHOT" in driver.controller, self._snapshotter.run))
            tasks.create_task(self._once(lambda driver: CREATES in driver.in_groups, self._grouper.run))

    def _look_again(self) -> None:
        makers = (self._provisioner, self._attacher, self._resizer, self._modifier, self._capacities)
        for worker in (*makers, self._snapshotter, self._grouper):
            worker.look_again()

    async def _once(self, needed: Callable[[Driver], bool], run: Callable[[], Awaitable[None]]) -> None:
        """Run something from the moment on that a driver here needs it."""
        while not any(needed(driver) for driver in self._plugins.drivers.values()):
            await asyncio.sleep(LOOK_SECONDS)
        await run()

    def _is_attached(self, driver: Driver) -> bool:
        return bool(driver.controller) and self._reach.spec(driver.name).get("attachRequired") is not False

    async def _attach(self) -> None:
        self._attacher.listen()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._attacher.attachments.run())
            await self._attacher.attachments.synced(SYNC_SECONDS)
            tasks.create_task(self._attacher.work.run())
