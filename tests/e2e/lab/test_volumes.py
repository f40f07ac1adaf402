"""What a claim can do after it is bound: snapshots, clones, growth, other attributes; volumes of a pod's own; volumes that move."""

from __future__ import annotations

import json

import pytest
import yaml

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"
MODE = "ReadWriteOnce"


def claim(name, size="32Mi", storage="subvolumes", mode=MODE, **more):
    spec = {"accessModes": [mode], "storageClassName": storage, "resources": {"requests": {"storage": size}}, **more}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def volume(name):
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}


def pod(name, *volumes, **more):
    main = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"]}
    main["volumeMounts"] = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]
    spec = {"terminationGracePeriodSeconds": 0, "containers": [main], "volumes": list(volumes), **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def snapshot(name, source, kind):
    spec = {"source": {"persistentVolumeClaimName": source}, "volumeSnapshotClassName": kind}
    return {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name}, "spec": spec}


def apply(lab, namespace, *objects):
    lab.apply(yaml.safe_dump_all(objects), namespace)


def events(lab, namespace, name):
    return " ".join(e["message"] for e in lab.get("events", "-n", namespace, "--field-selector", f"involvedObject.name={name}")["items"])


def home(lab, namespace, name):
    return lab.get("pod", name, "-n", namespace)["spec"]["nodeName"]


@pytest.fixture
def cluster_wide(lab):
    """A function that applies an object outside namespaces, which goes after the test."""
    made = []

    def make(kind, name, **fields):
        lab.apply(yaml.safe_dump({"kind": kind, "metadata": {"name": name}, **fields}))
        made.append((kind.lower(), name))
        return name

    yield make
    for kind, name in made:
        lab.kubectl("delete", kind, name, "--wait=false")


def test_snapshots_are_restored_and_claims_cloned_where_their_source_is(lab, namespace, cluster_wide):
    kind = cluster_wide(
        "VolumeSnapshotClass", namespace, apiVersion="snapshot.storage.k8s.io/v1", driver="btrfs.csi.moorings.dev", deletionPolicy="Delete"
    )
    apply(lab, namespace, claim("data"), pod("writer", volume("data")))
    lab.wait_ready("writer", namespace=namespace)
    lab.exec("writer", "sh", "-c", "echo old > /data/file", namespace=namespace)
    apply(lab, namespace, snapshot("kept", "data", kind))
    lab.kubectl("wait", "-n", namespace, "--for=jsonpath={.status.readyToUse}=true", "volumesnapshot/kept", "--timeout=30s")
    lab.exec("writer", "sh", "-c", "echo new > /data/file", namespace=namespace)
    told = lab.get("volumesnapshot", "kept", "-n", namespace)
    assert told["status"]["restoreSize"] == "32Mi"
    content = told["status"]["boundVolumeSnapshotContentName"]
    restored = claim("restored", dataSource={"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "kept"})
    clone = claim("clone", "48Mi", dataSource={"kind": "PersistentVolumeClaim", "name": "data"})
    apply(lab, namespace, restored, clone, pod("reader", volume("restored")), pod("cloner", volume("clone")))
    lab.wait_ready("reader", "cloner", namespace=namespace)
    assert lab.exec("reader", "cat", "/restored/file", namespace=namespace).stdout == "old\n", "what was there when it was taken"
    assert lab.exec("cloner", "cat", "/clone/file", namespace=namespace).stdout == "new\n"
    assert {home(lab, namespace, p) for p in ("reader", "cloner")} == {home(lab, namespace, "writer")}, (
        "copies are made where their source is"
    )
    lab.kubectl("delete", "pod", "writer", "-n", namespace)
    lab.kubectl("delete", "pvc", "data", "-n", namespace)
    assert lab.exec("reader", "cat", "/restored/file", namespace=namespace).stdout == "old\n", "copies outlive their source"
    lab.kubectl("delete", "volumesnapshot", "kept", "-n", namespace)
    assert lab.kubectl("get", "volumesnapshotcontent", content, check=False).returncode, "the content went with its snapshot"


def test_a_claim_grows_and_changes_while_a_pod_uses_it(lab, namespace, cluster_wide):
    kind = cluster_wide(
        "VolumeAttributesClass",
        namespace,
        apiVersion="storage.k8s.io/v1",
        driverName="image.csi.moorings.dev",
        parameters={"readAheadKiB": "768"},
    )
    apply(lab, namespace, claim("data", "320Mi", "local"), pod("user", volume("data")))
    lab.wait_ready("user", namespace=namespace)

    def megabytes():
        return int(lab.exec("user", "sh", "-c", "df -m /data | tail -n 1 | awk '{print $2}'", namespace=namespace).stdout)

    before = megabytes()
    wanted = {"spec": {"resources": {"requests": {"storage": "640Mi"}}, "volumeAttributesClassName": kind}}
    lab.kubectl("patch", "pvc", "data", "-n", namespace, "-p", json.dumps(wanted))
    lab.wait_for("the pod sees more", lambda: megabytes() > before + 280)

    def settled():
        status = lab.get("pvc", "data", "-n", namespace)["status"]
        return status["capacity"]["storage"] == "640Mi" and not status.get("conditions") and not status.get("allocatedResourceStatuses")

    lab.wait_for("the claim says so", settled)
    measured = f'kubelet_volume_stats_capacity_bytes{{namespace="{namespace}",persistentvolumeclaim="data"}}'
    metrics = f"/api/v1/nodes/{home(lab, namespace, 'user')}/proxy/metrics"
    lab.wait_for("the node's figures of the volume", lambda: measured in lab.kubectl("get", "--raw", metrics).stdout)
    found = lab.get("pvc", "data", "-n", namespace)
    assert found["status"]["allocatedResources"]["storage"] == "640Mi"
    made = lab.get("pv", found["spec"]["volumeName"])
    assert made["spec"]["capacity"]["storage"] == "640Mi"
    lab.wait_for(
        "other attributes", lambda: lab.get("pvc", "data", "-n", namespace)["status"].get("currentVolumeAttributesClassName") == kind
    )
    driver = {"apiVersion": "storage.k8s.io/v1", "driverName": "image.csi.moorings.dev"}
    wrong = cluster_wide("VolumeAttributesClass", f"{namespace}-wrong", parameters={"x": "1"}, **driver)

    def conditions():
        return [c["type"] for c in lab.get("pvc", "data", "-n", namespace)["status"].get("conditions") or ()]

    assert conditions() == []
    lab.kubectl("patch", "pvc", "data", "-n", namespace, "-p", json.dumps({"spec": {"volumeAttributesClassName": wrong}}))
    lab.wait_for("a class that cannot be to be told as that", lambda: conditions() == ["ModifyVolumeError"])
    lab.kubectl("patch", "pvc", "data", "-n", namespace, "-p", json.dumps({"spec": {"volumeAttributesClassName": kind}}))
    lab.wait_for("the claim to be as it was", lambda: conditions() == [])
    device = lab.exec("user", "sh", "-c", "grep ' /data ' /proc/mounts | cut -d' ' -f1", namespace=namespace).stdout.strip()
    assert lab.exec("user", "cat", f"/sys/block/{device.removeprefix('/dev/')}/queue/read_ahead_kb", namespace=namespace).stdout == "768\n"


def test_a_pod_has_volumes_of_its_own_and_block_devices(lab, namespace):
    template = {"spec": {"accessModes": [MODE], "storageClassName": "subvolumes", "resources": {"requests": {"storage": "32Mi"}}}}
    own = {"name": "own", "ephemeral": {"volumeClaimTemplate": template}}
    inline = {"name": "inline", "csi": {"driver": "btrfs.csi.moorings.dev", "volumeAttributes": {"size": "16Mi"}}}
    raw = claim("raw", storage="local", volumeMode="Block")
    user = pod("user", own, inline, securityContext={"fsGroup": 4321})
    user["spec"]["volumes"].append(volume("raw"))
    user["spec"]["containers"][0]["volumeDevices"] = [{"name": "raw", "devicePath": "/dev/raw"}]
    apply(lab, namespace, raw, user)
    lab.wait_ready("user", namespace=namespace)
    seen = lab.exec("user", "sh", "-c", "stat -c %g /own /inline; blockdev --getsize64 /dev/raw || wc -c < /dev/raw", namespace=namespace)
    assert seen.stdout.split() == ["4321", "4321", str(32 << 20)]
    lab.exec("user", "sh", "-c", "echo x | dd of=/dev/raw conv=notrunc 2>/dev/null && head -c 1 /dev/raw", namespace=namespace)
    refused = lab.exec("user", "sh", "-c", "dd if=/dev/zero of=/inline/file bs=1M count=20 conv=fsync", namespace=namespace, check=False)
    assert refused.returncode, "an inline volume has a limit"
    assert "quota" in refused.stderr.lower()
    made = lab.get("pvc", "user-own", "-n", namespace)
    assert made["metadata"]["ownerReferences"][0]["name"] == "user"
    lab.kubectl("delete", "pod", "user", "-n", namespace)
    lab.kubectl("wait", "--for=delete", f"pv/{made['spec']['volumeName']}", "--timeout=30s")


def test_a_claim_for_one_pod_is_for_one_and_a_claim_for_more_than_there_is_waits(lab, namespace):
    only, greedy = claim("only", mode="ReadWriteOncePod"), claim("greedy", "1Ti")
    apply(lab, namespace, only, greedy, pod("first", volume("only")), pod("hungry", volume("greedy")))
    lab.wait_ready("first", namespace=namespace)
    apply(lab, namespace, pod("second", volume("only")))
    lab.wait_for("the second pod waits", lambda: "ReadWriteOncePod access mode already in-use" in events(lab, namespace, "second"))
    lab.wait_for("no node has the room", lambda: "did not have enough free storage" in events(lab, namespace, "hungry"))
    annotations = lab.get("pvc", "greedy", "-n", namespace)["metadata"].get("annotations", {})
    assert "volume.kubernetes.io/selected-node" not in annotations, "no node is chosen that is too small"
    lab.kubectl("delete", "pod", "first", "-n", namespace)
    lab.wait_ready("second", namespace=namespace)


@pytest.fixture
def victim(lab):
    """The last node; with its power back, Ready and without taint after the test."""
    name = max(n["metadata"]["name"] for n in lab.get("nodes")["items"])
    yield name
    lab.moorings("node", "start", name)
    lab.kubectl("taint", "node", name, "node.kubernetes.io/out-of-service-", check=False)
    lab.kubectl("wait", "--for=condition=Ready", f"node/{name}", "--timeout=60s")


def attachments(lab, namespace, name):
    made = lab.get("pvc", name, "-n", namespace)["spec"]["volumeName"]
    found = lab.get("volumeattachments")["items"]
    return {a["spec"]["nodeName"]: a for a in found if a["spec"]["source"]["persistentVolumeName"] == made}


@pytest.mark.timeout(180)
def test_a_volume_has_one_writing_node_and_moves_when_that_node_is_out_of_service(lab, namespace, victim):
    other = min(n["metadata"]["name"] for n in lab.get("nodes")["items"])
    both = [{"key": f"node.kubernetes.io/{why}", "operator": "Exists"} for why in ("unreachable", "not-ready")]
    here = pod("here", volume("data"), volume("shared"), nodeName=victim, tolerations=both)
    there = pod("there", volume("data"), nodeName=other, tolerations=both)
    beside = pod("beside", volume("shared"), nodeName=other, tolerations=both)
    storage = {"storage": "everywhere"}
    chosen = {"volume.kubernetes.io/selected-node": other}
    claims = [claim("data", **storage), claim("shared", mode="ReadWriteMany", **storage)]
    for each in claims:
        each["metadata"]["annotations"] = chosen
    apply(lab, namespace, *claims, here)
    lab.wait_ready("here", namespace=namespace)
    lab.exec("here", "sh", "-c", "echo moved > /data/file && echo seen > /shared/file && sync", namespace=namespace)
    apply(lab, namespace, there, beside)
    lab.wait_ready("beside", namespace=namespace)
    assert lab.exec("beside", "cat", "/shared/file", namespace=namespace).stdout == "seen\n", "two nodes share what is for many"
    lab.wait_for("the second node is refused", lambda: "Multi-Attach error" in events(lab, namespace, "there"))
    assert set(attachments(lab, namespace, "data")) == {victim}
    lab.moorings("node", "poweroff", victim)
    lab.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{victim}", "--timeout=60s")
    assert set(attachments(lab, namespace, "data")) == {victim}, "a silent node may still write"
    lab.kubectl("taint", "node", victim, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
    lab.wait_ready("there", namespace=namespace, timeout=30)
    assert set(attachments(lab, namespace, "data")) == {other}
    assert lab.exec("there", "cat", "/data/file", namespace=namespace).stdout == "moved\n"
