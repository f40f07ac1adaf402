"""A CSI driver that nobody here wrote as a lab's storage: the mock driver of Kubernetes' own suite, chosen in the cluster file."""

import json

import pytest
import yaml

pytestmark = pytest.mark.lab
CLUSTER = """
storage:
- name: mock
  backend: external
  default: true
  parameters: {{driver: mock.csi.k8s.io, command: ["{program}", "{{socket}}"], attach: true, storageCapacity: true}}
lab:
  profile: fast
  nodes: [{{name: server, roles: [server]}}, {{count: 1}}]
"""
CLASS = {
    "apiVersion": "snapshot.storage.k8s.io/v1",
    "kind": "VolumeSnapshotClass",
    "metadata": {"name": "mock", "annotations": {"snapshot.storage.kubernetes.io/is-default-class": "true"}},
    "driver": "mock.csi.k8s.io",
    "deletionPolicy": "Delete",
}


def claim(name, **more):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **more}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def pod(name):
    mount = [{"name": "data", "mountPath": "/data"}]
    main = {"name": "main", "image": "moorings.dev/busybox:1", "command": ["sleep", "3600"], "volumeMounts": mount}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]
    spec = {"terminationGracePeriodSeconds": 0, "containers": [main], "volumes": volumes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def snapshot(name, source):
    spec = {"source": {"persistentVolumeClaimName": source}}
    return {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name}, "spec": spec}


def test_a_driver_that_nobody_here_wrote_is_driven_from_claim_to_deletion(make_lab, program):
    lab = make_lab(CLUSTER.format(program=program("mock-csi")))
    lab.apply(yaml.safe_dump_all([CLASS, claim("data"), pod("data"), snapshot("kept", "data")]))
    lab.wait_ready("data")
    (attachment,) = lab.get("volumeattachments")["items"]
    assert attachment["status"]["attached"]
    assert attachment["status"]["attachmentMetadata"], "the driver's word from attaching is kept for the node"
    lab.kubectl("wait", "--for=jsonpath={.status.readyToUse}=true", "volumesnapshot/kept", "--timeout=30s")
    lab.kubectl("patch", "pvc", "data", "-p", json.dumps({"spec": {"resources": {"requests": {"storage": "2Gi"}}}}))
    source = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "kept"}
    lab.apply(yaml.safe_dump_all([claim("restored", dataSource=source), pod("restored")]))
    lab.wait_ready("restored")

    def grown():
        status = lab.get("pvc", "data")["status"]
        return status["capacity"]["storage"] == "2Gi" and not status.get("allocatedResourceStatuses") and not status.get("conditions")

    lab.wait_for("the volume and the node's part of it have grown", grown)
    lab.kubectl("delete", "pod", "data", "restored")
    lab.kubectl("delete", "volumesnapshot", "kept", "--timeout=30s")
    lab.kubectl("delete", "pvc", "data", "restored", "--timeout=30s")
    for kind in ("pv", "volumeattachments", "volumesnapshotcontents"):
        lab.wait_for(f"no {kind} left", lambda kind=kind: not lab.get(kind)["items"])
