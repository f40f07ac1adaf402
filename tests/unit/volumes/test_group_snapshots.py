"""Groups of snapshots from the selector to their end, against the real API in memory and a driver that keeps what it is told."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from moorings_core.agent.csi.client import CsiError
from moorings_core.agent.csi.group_snapshotter import GroupSnapshotter
from moorings_core.agent.csi.plugins import Driver
from moorings_core.agent.csi.snapshotter import Snapshotter
from moorings_core.api.bootstrap import create_missing, objects
from moorings_core.api.context import User
from moorings_core.api.core import ApiCore
from moorings_core.api.extension.definitions import Definitions
from moorings_core.client.informer import Informer
from moorings_core.client.local import LocalClient
from moorings_core.client.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    VOLUME_GROUP_SNAPSHOT_CLASSES,
    VOLUME_GROUP_SNAPSHOT_CONTENTS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import Invalid, NotFound
from moorings_core.protos import csi_pb2 as csi
from moorings_core.store.memory import MemoryStore

DRIVER = "d.example.com"
GROUP = {"apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": "VolumeGroupSnapshot"}


class CsiDriver:
    """The group methods of a driver; `broken` says what the next call fails with."""

    def __init__(self):
        self.groups, self.calls, self.broken = {}, [], None

    async def call(self, rpc, **fields):
        self.calls.append((rpc, fields))
        if self.broken:
            raise CsiError(rpc, self.broken, "as asked")
        return getattr(self, rpc)(**fields)

    def CreateVolumeGroupSnapshot(self, name, source_volume_ids, **rest):
        members = [csi.Snapshot(snapshot_id=f"s-{v}", source_volume_id=v, size_bytes=1 << 20, ready_to_use=True) for v in source_volume_ids]
        made = csi.VolumeGroupSnapshot(group_snapshot_id=f"g-{name}", snapshots=members, ready_to_use=True)
        self.groups[made.group_snapshot_id] = made
        return csi.CreateVolumeGroupSnapshotResponse(group_snapshot=made)

    def GetVolumeGroupSnapshot(self, group_snapshot_id, **rest):
        if group_snapshot_id not in self.groups:
            raise CsiError("GetVolumeGroupSnapshot", "NOT_FOUND", "no such group")
        return csi.GetVolumeGroupSnapshotResponse(group_snapshot=self.groups[group_snapshot_id])

    def DeleteVolumeGroupSnapshot(self, group_snapshot_id, snapshot_ids, **rest):
        assert list(snapshot_ids) == [s.snapshot_id for s in self.groups[group_snapshot_id].snapshots]
        del self.groups[group_snapshot_id]


class Reach:
    """An agent that answers for the volumes of its one driver, except for those of another node."""

    def __init__(self, called):
        capability = frozenset({"CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"})
        self._driver = Driver(DRIVER, called, "n", {"node": "n"}, 0, frozenset({"CREATE_DELETE_SNAPSHOT"}), in_groups=capability)

    def driver(self, name):
        return self._driver if name == DRIVER else None

    def leads(self, driver):
        return True

    def answers_for(self, volume):
        return self._driver if volume["metadata"].get("annotations", {}).get("node", "n") == "n" else None


class Events:
    def __init__(self):
        self.reasons = []

    def event(self, obj, kind, reason, message):
        self.reasons.append(reason)


class Cluster:
    def __init__(self, client, driver, events):
        self.client, self.driver, self.events = client, driver, events

    async def claim(self, name, labels=None, node="n"):
        volume = f"pv-{name}"
        reference = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": name}
        spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": reference}
        spec["csi"] = {"driver": DRIVER, "volumeHandle": f"h-{name}"}
        metadata = {"name": volume, "annotations": {"node": node}}
        await self.client.create(PERSISTENT_VOLUMES, {"metadata": metadata, "spec": spec})
        wanted = {"accessModes": ["ReadWriteOnce"], "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
        body = {"metadata": {"name": name, "namespace": "default", "labels": labels or {"app": "db"}}, "spec": wanted}
        await self.client.create(PERSISTENT_VOLUME_CLAIMS, body)

    async def group(self, name="g", **source):
        source = source or {"selector": {"matchLabels": {"app": "db"}}}
        body = {**GROUP, "metadata": {"name": name, "namespace": "default"}, "spec": {"source": source}}
        return await self.client.create(VOLUME_GROUP_SNAPSHOTS, body)

    async def status(self, name="g"):
        return (await self.client.get(VOLUME_GROUP_SNAPSHOTS, name, "default")).get("status") or {}

    async def items(self, resource):
        return (await self.client.list(resource)).items


async def until(look):
    """Wait until look answers something true; return that."""
    async with asyncio.timeout(20):
        while not (found := await look()):
            await asyncio.sleep(0.02)
    return found


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


async def test_a_group_is_taken_of_the_claims_that_its_selector_names_and_each_member_is_a_snapshot(cluster):
    for name in ("one", "two"):
        await cluster.claim(name)
    await cluster.claim("other", {"app": "web"})
    await cluster.group()

    async def is_ready():
        return (await cluster.status()).get("readyToUse")

    await until(is_ready)
    (content,) = await cluster.items(VOLUME_GROUP_SNAPSHOT_CONTENTS)
    assert content["spec"]["source"]["volumeHandles"] == ["h-one", "h-two"]
    assert (await cluster.status())["boundVolumeGroupSnapshotContentName"] == content["metadata"]["name"]

    async def members():
        found = await cluster.items(VOLUME_SNAPSHOTS)
        return found if len(found) == 2 and all((s.get("status") or {}).get("readyToUse") for s in found) else None

    for member in await until(members):
        assert member["status"]["volumeGroupSnapshotName"] == "g"
        assert member["status"]["restoreSize"] == "1Mi"
        assert member["metadata"]["ownerReferences"][0]["kind"] == "VolumeGroupSnapshot"
        bound = await cluster.client.get(VOLUME_SNAPSHOT_CONTENTS, member["status"]["boundVolumeSnapshotContentName"])
        claim = member["spec"]["source"]["persistentVolumeClaimName"]
        assert bound["status"]["snapshotHandle"] == f"s-h-{claim}"
        assert bound["spec"]["volumeSnapshotRef"]["uid"] == member["metadata"]["uid"]
    assert [rpc for rpc, _ in cluster.driver.calls] == ["CreateVolumeGroupSnapshot"], "members are taken with the group, once"
    assert "GroupSnapshotReady" in cluster.events.reasons

    first = (await cluster.items(VOLUME_SNAPSHOTS))[0]["metadata"]["name"]
    await cluster.client.delete(VOLUME_SNAPSHOTS, first, "default")

    async def is_refused():
        return "SnapshotDeletePending" in cluster.events.reasons

    await until(is_refused)
    assert len(await cluster.items(VOLUME_SNAPSHOTS)) == 2, "a member goes with its group and not before"
    await cluster.client.delete(VOLUME_GROUP_SNAPSHOTS, "g", "default")

    async def is_gone():
        kinds = (VOLUME_GROUP_SNAPSHOTS, VOLUME_GROUP_SNAPSHOT_CONTENTS, VOLUME_SNAPSHOTS, VOLUME_SNAPSHOT_CONTENTS)
        return not any([await cluster.items(kind) for kind in kinds])

    await until(is_gone)
    assert not cluster.driver.groups
    assert {rpc for rpc, _ in cluster.driver.calls} == {"CreateVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot"}


async def test_a_group_that_the_driver_refuses_says_so_and_is_ready_once_it_does_not(cluster):
    cluster.driver.broken = "RESOURCE_EXHAUSTED"
    await cluster.claim("one")
    await cluster.group()

    async def says_why():
        return "as asked" in ((await cluster.status()).get("error") or {}).get("message", "")

    await until(says_why)
    cluster.driver.broken = None

    async def is_ready():
        status = await cluster.status()
        return status.get("readyToUse") and not status.get("error")

    await until(is_ready)


async def test_volumes_of_two_nodes_are_no_group_and_neither_is_a_selector_of_nothing(cluster):
    await cluster.claim("one")
    await cluster.claim("two", node="elsewhere")
    await cluster.group()

    async def says_why():
        return "not reachable" in ((await cluster.status()).get("error") or {}).get("message", "")

    await until(says_why)
    assert not cluster.driver.calls


async def test_a_group_made_by_other_means_is_bound_and_kept_where_its_content_says_so(cluster):
    made = cluster.driver.CreateVolumeGroupSnapshot("old", ["x"]).group_snapshot
    known = {"volumeGroupSnapshotHandle": made.group_snapshot_id, "volumeSnapshotHandles": ["s-x"]}
    reference = {"namespace": "default", "name": "g"}
    spec = {"deletionPolicy": "Retain", "driver": DRIVER, "source": {"groupSnapshotHandles": known}, "volumeGroupSnapshotRef": reference}
    body = {"apiVersion": GROUP["apiVersion"], "kind": "VolumeGroupSnapshotContent", "metadata": {"name": "byhand"}, "spec": spec}
    await cluster.client.create(VOLUME_GROUP_SNAPSHOT_CONTENTS, body)
    group = await cluster.group(volumeGroupSnapshotContentName="byhand")

    async def is_ready():
        return (await cluster.status()).get("readyToUse")

    await until(is_ready)
    content = await cluster.client.get(VOLUME_GROUP_SNAPSHOT_CONTENTS, "byhand")
    assert content["spec"]["volumeGroupSnapshotRef"]["uid"] == group["metadata"]["uid"]
    await cluster.client.delete(VOLUME_GROUP_SNAPSHOTS, "g", "default")

    async def is_gone():
        with contextlib.suppress(NotFound):
            await cluster.client.get(VOLUME_GROUP_SNAPSHOTS, "g", "default")
            return False
        return True

    await until(is_gone)
    assert cluster.driver.groups, "what is to be retained is not deleted"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"selector": {"matchLabels": {"a": "b"}}, "volumeGroupSnapshotContentName": "c"}, "exactly one of"),
        ({}, "exactly one of"),
    ],
)
async def test_a_group_has_one_source(cluster, source, why):
    body = {**GROUP, "metadata": {"name": "g", "namespace": "default"}, "spec": {"source": source}}
    with pytest.raises(Invalid, match=why):
        await cluster.client.create(VOLUME_GROUP_SNAPSHOTS, body)
