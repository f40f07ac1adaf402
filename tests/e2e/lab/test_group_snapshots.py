"""Snapshots of several volumes at one moment: from a selector of claims to claims made of the members."""

from __future__ import annotations

import pytest

from .test_volumes import apply, claim, pod, volume

pytestmark = pytest.mark.lab
CLUSTER = """
storage: [{name: images, backend: image, parameters: {fsType: ext4, poolFsType: xfs, poolSize: 2Gi}}]
lab:
  profile: fast
  nodes: [{name: server, roles: [server]}, {count: 1, memory: 1Gi}]
"""


@pytest.mark.timeout(240)
def test_volumes_are_kept_as_they_were_at_one_moment_and_restored_one_by_one(make_lab):
    lab, namespace = make_lab(CLUSTER), "default"
    api, pair = "groupsnapshot.storage.k8s.io/v1", [claim("one", storage="images"), claim("two", storage="images")]
    chosen = {"apiVersion": api, "kind": "VolumeGroupSnapshotClass", "metadata": {"name": "images"}}
    apply(lab, namespace, {**chosen, "driver": "image.csi.moorings.dev", "deletionPolicy": "Delete"})
    for each in pair:
        each["metadata"]["labels"] = {"app": "pair"}
    apply(lab, namespace, *pair, claim("other", storage="images"), pod("writer", volume("one"), volume("two"), volume("other")))
    lab.wait_ready("writer", namespace=namespace)
    write = "i=0; while :; do i=$((i + 1)); echo $i > /one/n.new; mv /one/n.new /one/n; echo $i > /two/n.new; mv /two/n.new /two/n; done"
    lab.exec("writer", "sh", "-c", f"({write}) > /dev/null 2>&1 &", namespace=namespace)
    spec = {"source": {"selector": {"matchLabels": {"app": "pair"}}}, "volumeGroupSnapshotClassName": "images"}
    apply(lab, namespace, {"apiVersion": api, "kind": "VolumeGroupSnapshot", "metadata": {"name": "both"}, "spec": spec})
    lab.kubectl("wait", "-n", namespace, "--for=jsonpath={.status.readyToUse}=true", "volumegroupsnapshot/both", "--timeout=30s")

    def members():
        found = lab.get("volumesnapshots", "-n", namespace)["items"]
        return found if len(found) == 2 and all((s.get("status") or {}).get("readyToUse") for s in found) else None

    found = {s["spec"]["source"]["persistentVolumeClaimName"]: s for s in lab.wait_for("two members", members)}
    assert set(found) == {"one", "two"}
    restored = [
        claim(
            f"again-{name}",
            storage="images",
            dataSource={"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": s["metadata"]["name"]},
        )
        for name, s in found.items()
    ]
    apply(lab, namespace, *restored, pod("reader", volume("again-one"), volume("again-two")))
    lab.wait_ready("reader", namespace=namespace)
    first, second = map(int, lab.exec("reader", "cat", "/again-one/n", "/again-two/n", namespace=namespace).stdout.split())
    assert first - second in (0, 1), "both are of one moment"
    contents = {s["status"]["boundVolumeSnapshotContentName"] for s in found.values()}
    lab.kubectl("delete", "volumegroupsnapshot", "both", "-n", namespace, "--timeout=30s")
    lab.wait_for("the members to go with their group", lambda: not lab.get("volumesnapshots", "-n", namespace)["items"])
    assert not contents & {c["metadata"]["name"] for c in lab.get("volumesnapshotcontents")["items"]}
