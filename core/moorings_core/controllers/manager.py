"""Runs all controllers on shared informers: one list and one watch for each resource, whatever the number of readers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from moorings_core.client.election import Elector
from moorings_core.client.events import EventRecorder
from moorings_core.client.informer import Informer
from moorings_core.client.resources import EVENTS
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.objects import Resource
from moorings_core.registry.kinds import Registry, built_in

from .accounts import RootCaPublisher, ServiceAccountController
from .aggregation import AggregationController
from .custom import CustomKinds
from .deployment import DeploymentController
from .disruption import DisruptionController, StaleDisruptions
from .endpoints import EndpointsController
from .endpointslice import EndpointSliceController
from .endpointslicemirroring import EndpointSliceMirroringController
from .framework import Cache, Controller, Loop
from .garbagecollector import GarbageCollector
from .job import JobController
from .legacytokens import LegacyTokenCleaner
from .namespace import NamespaceController
from .nodeipam import NodeIpamController
from .nodelifecycle import NodeLifecycleController
from .podgc import PodGarbageCollector
from .policystatus import PolicyStatus
from .protection import ClaimProtection, VolumeProtection
from .quota import QuotaController
from .replicaset import ReplicaSetController, replication_controllers
from .servicecidr import IpAddressController, ServiceCidrController
from .tainteviction import TaintEvictionController
from .tokens import Sign, TokensController

log = get_logger(__name__)
SYNC_TIMEOUT = 120.0
NEEDED = {"list", "watch", "delete"}


class Manager:
    """All controllers of a cluster. `extra` ones run beside the built-in ones, e.g. those of volumes.

    identity: with it the controllers run only while this process holds the lease "kube-controller-manager" under that name.
    ca: the cluster's CA in PEM, to be published to every namespace; "" publishes none. sign: makes the tokens of Secrets that ask for
    one; None fills none.
    """

    def __init__(
        self,
        client: Client,
        config: ClusterConfig,
        *,
        ca: str = "",
        sign: Sign | None = None,
        identity: str = "",
        resources: Sequence[Resource] | None = None,
        extra: Sequence[Controller] = (),
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._identity, self._clock, self._now = client, identity, clock, now
        collected = deletable(built_in()) if resources is None else list(resources)
        self.controllers: list[Controller] = [*built_in_controllers(config, collected, ca, sign), *extra]
        self.caches: dict[Resource, Cache] = {}

    async def run(self) -> None:
        """Run until cancelled; with an identity, only while leading. Raises what ends the informers or all controllers."""
        if not self._identity:
            await self._work()
            return
        elector = Elector(self._client, "kube-controller-manager", self._identity)
        while True:
            await elector.run(self._work)

    async def _work(self) -> None:
        caches = self.caches = self._fresh_caches()
        informers = [Informer(self._client, resource) for resource in caches]
        recorders = {c.name: EventRecorder(self._client, c.name) for c in self.controllers}
        loops = [Loop(c, caches, self._client, recorders[c.name], clock=self._clock, now=self._now) for c in self.controllers]
        for informer in informers:
            informer.on_change(caches[informer.resource].observe)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(informer.run(), name=f"informer {informer.resource.plural}")
            for recorder in recorders.values():
                tasks.create_task(recorder.run(), name="events")
            unsynced = await self._sync(informers)
            for loop in loops:
                needed = {watch.resource for watch in loop.controller.watches()}
                if blocked := sorted(r.plural for r in needed & unsynced):
                    log.error("controller waits for its caches", controller=loop.controller.name, resources=",".join(blocked))
                tasks.create_task(self._run(loop, [i for i in informers if i.resource in needed]), name=loop.controller.name)
            tasks.create_task(CustomKinds(self._client, caches, loops, self._clock).run(), name="custom kinds")
            tasks.create_task(PolicyStatus(self._client, built_in()).run(), name="policy status")
            log.info("controllers started", controllers=len(loops), informers=len(informers))

    def _fresh_caches(self) -> dict[Resource, Cache]:
        resources = {watch.resource: None for c in self.controllers for watch in c.watches()}
        return {resource: Cache(resource, self._clock) for resource in resources}

    @staticmethod
    async def _sync(informers: Sequence[Informer]) -> set[Resource]:
        """Wait for the first lists; return those that did not come. One broken kind must not stop the controllers of others."""
        waits = await asyncio.gather(*(informer.synced(SYNC_TIMEOUT) for informer in informers), return_exceptions=True)
        return {informer.resource for informer, error in zip(informers, waits, strict=True) if error is not None}

    @staticmethod
    async def _run(loop: Loop, informers: Sequence[Informer]) -> None:
        for informer in informers:
            while not informer.has_synced:
                try:
                    await informer.synced(SYNC_TIMEOUT)
                except TimeoutError:
                    log.error("controller waits for its caches", controller=loop.controller.name, resource=informer.resource.plural)
        await loop.run()


def built_in_controllers(config: ClusterConfig, resources: Sequence[Resource], ca: str, sign: Sign | None = None) -> list[Controller]:
    """Return one of each; `resources` are what namespaces and the garbage collector delete."""
    return [
        *([NodeIpamController(config.network)] if config.network.allocate_node_cidrs else []),
        NodeLifecycleController(config.timing),
        TaintEvictionController(),
        PodGarbageCollector(config.timing),
        ServiceAccountController(),
        AggregationController(),
        *([RootCaPublisher(ca)] if ca else []),
        *([TokensController(sign, ca)] if sign is not None else []),
        LegacyTokenCleaner(),
        ReplicaSetController(),
        replication_controllers(),
        DeploymentController(),
        JobController(),
        EndpointSliceController(),
        EndpointSliceMirroringController(),
        EndpointsController(),
        ServiceCidrController(config.services.cidrs),
        IpAddressController(),
        NamespaceController(resources),
        GarbageCollector([resource for resource in resources if resource != EVENTS]),  # they go by age
        QuotaController(resources),
        DisruptionController(built_in()),
        StaleDisruptions(),
        ClaimProtection(),
        VolumeProtection(),
    ]


def deletable(registry: Registry) -> list[Resource]:
    """Return the kinds to collect: one version of each that can be listed, watched and deleted; both forms of Events are one."""
    preferred = {group: versions[0] for group, versions in registry.groups} | {"": "v1"}
    chosen: dict[tuple[str, str], Resource] = {}
    for kind in registry.kinds():
        resource = kind.resource
        if not set(kind.verbs) >= NEEDED or (resource.plural == EVENTS.plural and resource != EVENTS):
            continue
        known = chosen.get((resource.group, resource.plural))
        if known is None or resource.version == preferred.get(resource.group):
            chosen[resource.group, resource.plural] = resource
    return list(chosen.values())
