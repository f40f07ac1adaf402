"""Groups of snapshots from the selector to their end, against the real API in memory and a driver that keeps what it is told."""

from __future__ import annotations

import contextlib

import pytest

from moorings_core.client.resources import (
    VOLUME_GROUP_SNAPSHOT_CONTENTS,
    VOLUME_GROUP_SNAPSHOTS,
    VOLUME_SNAPSHOT_CONTENTS,
    VOLUME_SNAPSHOTS,
)
from moorings_core.ports.errors import Invalid, NotFound

from .csi_cluster import DRIVER, GROUP, until


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
