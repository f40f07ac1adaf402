"""The cluster that tests of snapshots share."""

from __future__ import annotations

import asyncio

import pytest

from moorings_core.agent.csi.group_snapshotter import GroupSnapshotter
from moorings_core.agent.csi.snapshotter import Snapshotter
from moorings_core.api.bootstrap import create_missing, objects
from moorings_core.api.context import User
from moorings_core.api.core import ApiCore
from moorings_core.api.extension.definitions import Definitions
from moorings_core.client.informer import Informer
from moorings_core.client.local import LocalClient
from moorings_core.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_GROUP_SNAPSHOT_CLASSES
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.store.memory import MemoryStore

from .csi_cluster import DRIVER, GROUP, Cluster, CsiDriver, Events, Reach


@pytest.fixture
async def cluster():
    core, driver, events = ApiCore(ClusterConfig(), MemoryStore()), CsiDriver(), Events()
    await core.cache.load()
    client = LocalClient(core, User("test", ("system:masters",)))
    claims, volumes = Informer(client, PERSISTENT_VOLUME_CLAIMS), Informer(client, PERSISTENT_VOLUMES)
    reach = Reach(driver)
    single = Snapshotter(client, reach, claims, volumes, events)
    grouper = GroupSnapshotter(client, reach, claims, volumes, single, events)
    definitions = Definitions(core.cache, core.registry, core.writer, lambda: None)
    definitions.start()
    tasks = [asyncio.create_task(core.cache.follow()), asyncio.create_task(definitions.run())]
    await create_missing(client, objects(ClusterConfig(), "", "192.0.2.1", 6443))
    for made in core.cache.collection("apiextensions.k8s.io", "customresourcedefinitions").select():
        await definitions.settled(made.object["metadata"]["name"])
    default = {"groupsnapshot.storage.kubernetes.io/is-default-class": "true"}
    body = {"metadata": {"name": "c", "annotations": default}, "driver": DRIVER, "deletionPolicy": "Delete"}
    await client.create(VOLUME_GROUP_SNAPSHOT_CLASSES, {"apiVersion": GROUP["apiVersion"], "kind": "VolumeGroupSnapshotClass", **body})
    tasks += [asyncio.create_task(each.run()) for each in (claims, volumes, single, grouper)]
    yield Cluster(client, driver, events)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
