"""csi/deploy/ as a user applies it: the driver in a pod with upstream's own sidecars, under a node's agent in the kubelet's place."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from moorings_labs import images, layout

from .driver_image import REPOSITORY, image

pytestmark = [pytest.mark.lab, pytest.mark.sidecars, pytest.mark.timeout(400)]
UPSTREAM, MANIFESTS = REPOSITORY / "build" / "upstream", REPOSITORY / "csi" / "deploy"
SIDECARS = {"csi-provisioner": "v6.4.0", "csi-resizer": "v2.3.0", "csi-snapshotter": "v8.7.0"}
KUBELET, POOL = "/var/lib/kubelet", "/var/lib/moorings-csi"
CLUSTER = """
storage: []
lab:
  profile: fast
  nodes: [{name: server, roles: [server]}, {count: 1, memory: 2Gi}]
"""
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: moorings-image
  resources: {requests: {storage: 320Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: user}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "moorings.dev/busybox:1", command: [sleep, "3600"], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"""


def archives(directory: Path):
    """Write the images that the manifests name."""
    for name, version in SIDECARS.items():
        program = UPSTREAM / name
        if not program.exists():
            pytest.fail(f"{name} is not built; `labs/upstream.sh {name}` builds it")
        archive = directory / f"{name}.tar"
        made = images.Image((f"registry.k8s.io/sig-storage/{name}:{version}",), (), (f"/{name}",), {name: program})
        images.write_archive(archive, made)
        yield archive
    images.write_archive(directory / "driver.tar", image("docker.io/library/moorings-csi:1", directory))
    yield directory / "driver.tar"


@pytest.fixture
def daemon_sets(tmp_path):
    """A function that has upstream's controller manager act on a lab's DaemonSets."""
    running = []

    def act(lab):
        program = UPSTREAM / "kube-controller-manager"
        flags = [f"--kubeconfig={lab.kubeconfig}", "--controllers=daemonset-controller", "--leader-elect=false", "--secure-port=0"]
        with (tmp_path / "controller-manager.log").open("wb") as log:
            running.append(subprocess.Popen([str(program), *flags], stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    yield act
    for process in running:
        process.terminate()
        process.wait(timeout=30)


def test_the_manifests_run_and_claims_are_provisioned_grow_and_go(make_lab, tmp_path, daemon_sets):
    lab = make_lab(CLUSTER)
    daemon_sets(lab)
    for archive in archives(tmp_path):
        lab.moorings("load", str(archive))
    node = layout.find(lab.name).node_root("node-1")
    lab.apply((MANIFESTS / "rbac.yaml").read_text(), "kube-system")
    text = (MANIFESTS / "daemonset.yaml").read_text().replace("poolSize=100Gi", "poolSize=4Gi")
    for there, here in ((KUBELET, node / "agent"), (POOL, node / "csi-pool")):  # a lab's node keeps what is its own below one directory
        text = text.replace(there, str(here))
    lab.apply(text, "kube-system")
    lab.kubectl("rollout", "status", "daemonset/moorings-csi", "-n", "kube-system", "--timeout=120s", timeout=130)
    lab.wait_for("the driver to register", lambda: [d["name"] for d in lab.get("csinode", "node-1")["spec"].get("drivers") or ()])
    lab.wait_for("the provisioner to tell the room", lambda: lab.get("csistoragecapacities", "-n", "kube-system")["items"])
    lab.apply(CLAIM, "default")
    lab.wait_ready("user")
    made = lab.get("pv", lab.get("pvc", "data")["spec"]["volumeName"])
    assert made["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == "image.csi.moorings.dev"
    lab.exec("user", "sh", "-c", "echo kept > /data/file && sync")
    seen = lab.moorings("exec", "node-1", "--", "ls", str(node / "csi-pool" / "pool"))
    assert "volumes" in seen.stdout, "the pool's file system is mounted by the container, and seen outside"

    def megabytes():
        return int(lab.exec("user", "sh", "-c", "df -m /data | tail -n 1 | awk '{print $2}'").stdout)

    before = megabytes()
    lab.kubectl("patch", "pvc", "data", "-p", json.dumps({"spec": {"resources": {"requests": {"storage": "640Mi"}}}}))
    lab.wait_for("the pod sees more", lambda: megabytes() > before + 280, timeout=60)
    lab.kubectl("delete", "pod/user", "pvc/data")
    lab.kubectl("wait", "--for=delete", f"pv/{made['metadata']['name']}", "--timeout=60s", timeout=70)
    restarts = [
        status["restartCount"]
        for pod in lab.get("pods", "-n", "kube-system", "-l", "app=moorings-csi")["items"]
        for status in pod["status"]["containerStatuses"]
    ]
    assert restarts == [0] * 4, "driver and sidecars ran through"
