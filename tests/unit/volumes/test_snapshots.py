"""Snapshots that others have made: what a driver is asked about them, and what it is told in confidence with that."""

from __future__ import annotations

import base64

from moorings_core.client.resources import (
    NAMESPACES,
    SECRETS,
    VOLUME_SNAPSHOT_CLASSES,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from moorings_core.protos import csi_pb2 as csi

from .csi_cluster import DRIVER, until

API = "snapshot.storage.k8s.io/v1"
PARAMETERS = {
    "csi.storage.k8s.io/snapshotter-list-secret-name": "list-${volumesnapshotcontent.name}",
    "csi.storage.k8s.io/snapshotter-list-secret-namespace": "confided",
}


async def add_class(cluster, parameters):
    body = {"apiVersion": API, "kind": "VolumeSnapshotClass", "metadata": {"name": "c"}, "driver": DRIVER, "deletionPolicy": "Retain"}
    await cluster.client.create(VOLUME_SNAPSHOT_CLASSES, {**body, "parameters": parameters})


async def add_secret(cluster, name, **data):
    if not await cluster.items(SECRETS):
        await cluster.client.create(NAMESPACES, {"metadata": {"name": "confided"}})
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    await cluster.client.create(SECRETS, {"metadata": {"name": name, "namespace": "confided"}, "data": encoded})


async def bind(cluster, **fields):
    """A content made by hand for the handle h, and the snapshot that asks for it."""
    reference = {"namespace": "default", "name": "s"}
    spec = {"deletionPolicy": "Retain", "driver": DRIVER, "source": {"snapshotHandle": "h"}, "volumeSnapshotRef": reference, **fields}
    content = {"apiVersion": API, "kind": "VolumeSnapshotContent", "metadata": {"name": "byhand"}, "spec": spec}
    await cluster.client.create(VOLUME_SNAPSHOT_CONTENTS, content)
    source = {"source": {"volumeSnapshotContentName": "byhand"}}
    body = {"apiVersion": API, "kind": "VolumeSnapshot", "metadata": {"name": "s", "namespace": "default"}, "spec": source}
    await cluster.client.create(VOLUME_SNAPSHOTS, body)


async def status(cluster, resource=VOLUME_SNAPSHOTS, name="s", namespace="default"):
    return (await cluster.client.get(resource, name, namespace)).get("status") or {}


async def test_a_driver_is_told_the_secret_that_the_class_names_for_asking(cluster):
    cluster.driver.known["h"] = csi.Snapshot(snapshot_id="h", size_bytes=1 << 20, ready_to_use=True)
    await add_class(cluster, PARAMETERS)
    await add_secret(cluster, "list-byhand", user="me")
    await bind(cluster, volumeSnapshotClassName="c")

    async def is_ready():
        return (await status(cluster)).get("readyToUse")

    await until(is_ready)
    assert (await status(cluster))["restoreSize"] == "1Mi"
    asked = cluster.driver.of("ListSnapshots")
    assert asked
    assert all(each == {"snapshot_id": "h", "secrets": {"user": "me"}} for each in asked)


async def test_without_a_class_or_a_secret_in_it_nothing_is_told(cluster):
    cluster.driver.known["h"] = csi.Snapshot(snapshot_id="h", ready_to_use=True)
    await bind(cluster)

    async def is_ready():
        return (await status(cluster)).get("readyToUse")

    await until(is_ready)
    assert all(each["secrets"] == {} for each in cluster.driver.of("ListSnapshots"))


async def test_one_that_is_not_ready_is_asked_for_until_it_is(cluster):
    cluster.driver.known["h"] = csi.Snapshot(snapshot_id="h", ready_to_use=False)
    await bind(cluster)

    async def is_bound():
        return (await status(cluster)).get("boundVolumeSnapshotContentName") and cluster.driver.of("ListSnapshots")

    await until(is_bound)
    assert not (await status(cluster)).get("readyToUse")
    cluster.driver.known["h"] = csi.Snapshot(snapshot_id="h", ready_to_use=True)

    async def is_ready():
        return (await status(cluster)).get("readyToUse")

    await until(is_ready)


async def test_a_class_that_is_not_there_and_a_template_that_says_nothing_are_told(cluster):
    await bind(cluster, volumeSnapshotClassName="c")

    async def says_why():
        return "there is no volume snapshot class 'c'" in ((await status(cluster)).get("error") or {}).get("message", "")

    await until(says_why)
    await add_class(cluster, {**PARAMETERS, "csi.storage.k8s.io/snapshotter-list-secret-name": "${volumesnapshot.name}"})

    async def says_what():
        return "which says nothing here" in ((await status(cluster)).get("error") or {}).get("message", "")

    await until(says_what)
    assert not cluster.driver.of("ListSnapshots")


async def test_a_secret_that_comes_late_is_read_then(cluster):
    cluster.driver.known["h"] = csi.Snapshot(snapshot_id="h", ready_to_use=True)
    await add_class(cluster, PARAMETERS)
    await bind(cluster, volumeSnapshotClassName="c")
    await add_secret(cluster, "list-byhand", user="late")

    async def is_ready():
        return (await status(cluster)).get("readyToUse")

    await until(is_ready)
    assert cluster.driver.of("ListSnapshots")[0]["secrets"] == {"user": "late"}


async def test_a_member_that_was_not_ready_with_its_group_is_asked_for_with_the_secret_of_its_deletion(cluster):
    await add_secret(cluster, "of-group", user="group")
    prefix = "snapshot.storage.kubernetes.io/deletion-secret-"
    annotations = {
        "groupsnapshot.storage.k8s.io/volumeGroupSnapshotHandle": "g",
        f"{prefix}name": "of-group",
        f"{prefix}namespace": "confided",
    }
    spec = {"deletionPolicy": "Retain", "driver": DRIVER, "source": {"volumeHandle": "v"}}
    spec["volumeSnapshotRef"] = {"namespace": "default", "name": "m"}
    metadata = {"name": "member", "annotations": annotations}
    await cluster.client.create(
        VOLUME_SNAPSHOT_CONTENTS, {"apiVersion": API, "kind": "VolumeSnapshotContent", "metadata": metadata, "spec": spec}
    )
    cluster.driver.known["h"] = csi.Snapshot(snapshot_id="h", ready_to_use=True)
    told = {"snapshotHandle": "h", "volumeGroupSnapshotHandle": "g", "readyToUse": False}
    await cluster.client.patch(VOLUME_SNAPSHOT_CONTENTS, "member", "", {"status": told}, subresource="status")

    async def is_ready():
        return (await status(cluster, VOLUME_SNAPSHOT_CONTENTS, "member", "")).get("readyToUse")

    await until(is_ready)
    assert cluster.driver.of("ListSnapshots") == [{"snapshot_id": "h", "secrets": {"user": "group"}}]
    assert (await status(cluster, VOLUME_SNAPSHOT_CONTENTS, "member", ""))["volumeGroupSnapshotHandle"] == "g"
