"""Volumes on a real lab: claims, limits, data that outlives its pod, reclaim policies, faults in the middle."""

from pathlib import Path

import pytest

from moorings_core.kernel import loops as kernel_loops

from . import places

pytestmark = pytest.mark.lab
MEBIBYTE = 1 << 20
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec:
  accessModes: [ReadWriteOnce]
  {more}
  resources: {{requests: {{storage: {size}}}}}
---
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  {more}
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: moorings.dev/busybox:1
    command: [sleep, "3600"]
    volumeMounts: [{mounts}]
  volumes: [{volumes}]
---
"""
CLASS = """
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: {name}}}
provisioner: image.csi.moorings.dev
parameters: {{fsType: ext4}}
reclaimPolicy: {policy}
volumeBindingMode: {mode}
---
"""


def claim(name: str, size: str = "32Mi", more: str = "") -> str:
    return CLAIM.format(name=name, size=size, more=more)


def pod(name: str, *claims: str, more: str = "") -> str:
    mounts = ", ".join(f"{{name: {c}, mountPath: /{c}}}" for c in claims)
    volumes = ", ".join(f"{{name: {c}, persistentVolumeClaim: {{claimName: {c}}}}}" for c in claims)
    return POD.format(name=name, more=more, mounts=mounts, volumes=volumes)


@pytest.fixture
def storage_class(lab, namespace):
    """A function that makes a StorageClass of small volumes and returns its name."""
    made = []

    def make(policy: str = "Delete", mode: str = "WaitForFirstConsumer") -> str:
        name = f"{namespace}-{len(made)}"
        lab.apply(CLASS.format(name=name, policy=policy, mode=mode))
        made.append(name)
        return name

    yield make
    for name in made:
        lab.kubectl("delete", "storageclass", name)


def phase(lab, namespace: str, name: str) -> str:
    return lab.get("pvc", name, "-n", namespace)["status"].get("phase", "")


def volume(lab, namespace: str, name: str) -> dict:
    """Return the PersistentVolume of a claim."""
    return lab.get("pv", lab.get("pvc", name, "-n", namespace)["spec"]["volumeName"])


def images(lab, node: str) -> set[Path]:
    """Return the files of a node's volumes."""
    return set((places.layout(lab).node_root(node) / "agent/volumes/image/volumes").iterdir())


def devices(lab, node: str) -> set[tuple[int, int]]:
    """Return the inodes of this node's volumes that have a loop device (paths of a dead node's mounts read otherwise)."""
    inodes = {kernel_loops.identity(file) for file in images(lab, node)}
    return {loop.backing for loop in kernel_loops.attached()} & inodes


def home(lab, namespace: str, name: str) -> str:
    return lab.get("pod", name, "-n", namespace)["spec"]["nodeName"]


def test_the_default_class_makes_a_volume_for_the_first_consumer_that_outlives_pods_and_goes_with_its_claim(lab, namespace):
    lab.apply(claim("data", "320Mi"), namespace)
    lab.wait_for("the default class", lambda: lab.get("pvc", "data", "-n", namespace)["spec"].get("storageClassName"))
    lab.wait_for("Pending", lambda: phase(lab, namespace, "data") == "Pending")
    assert "volumeName" not in lab.get("pvc", "data", "-n", namespace)["spec"], "it waits for its first consumer"
    lab.apply(pod("first", "data"), namespace)
    lab.wait_ready("first", namespace=namespace)
    assert phase(lab, namespace, "data") == "Bound"
    node, made = home(lab, namespace, "first"), volume(lab, namespace, "data")
    assert made["spec"]["nodeAffinity"], "the volume says where it is"
    lab.exec("first", "sh", "-c", "echo kept > /data/file && sync", namespace=namespace)
    total = int(lab.exec("first", "sh", "-c", "df -m /data | tail -n 1 | awk '{print $2}'", namespace=namespace).stdout)
    assert 220 < total <= 320, "the pod sees the volume's size"
    lab.kubectl("delete", "pod", "first", "-n", namespace)
    lab.apply(pod("second", "data"), namespace)
    lab.wait_ready("second", namespace=namespace)
    assert home(lab, namespace, "second") == node, "pods go where their data is"
    assert lab.exec("second", "cat", "/data/file", namespace=namespace).stdout == "kept\n"
    (file,) = (f for f in images(lab, node) if f.name.startswith(made["spec"]["csi"]["volumeHandle"]))
    inode = kernel_loops.identity(file)
    assert kernel_loops.find(inode)
    lab.kubectl("delete", "pvc", "data", "-n", namespace, "--wait=false")
    assert phase(lab, namespace, "data") == "Bound", "a claim in use is kept until its pod is gone"
    lab.kubectl("delete", "pod", "second", "-n", namespace)
    lab.kubectl("wait", "--for=delete", f"pv/{made['metadata']['name']}", "--timeout=30s")
    assert not file.exists()
    assert kernel_loops.find(inode) is None


def test_a_full_volume_says_so_at_its_limit_and_its_neighbour_goes_on(lab, namespace, storage_class):
    more = f"storageClassName: {storage_class()}"
    lab.apply(claim("full", more=more) + claim("fine", more=more) + pod("writer", "full", "fine"), namespace)
    lab.wait_ready("writer", namespace=namespace)
    filled = lab.exec("writer", "sh", "-c", "dd if=/dev/zero of=/full/big bs=64k; stat -c %s /full/big", namespace=namespace)
    assert "No space left on device" in filled.stderr
    assert 24 * MEBIBYTE < int(filled.stdout) <= 32 * MEBIBYTE
    script = "seq 1 1000000 > /fine/numbers && sync && md5sum < /fine/numbers && seq 1 1000000 | md5sum"
    first, second = lab.exec("writer", "sh", "-c", script, namespace=namespace).stdout.splitlines()
    assert first == second, "the neighbour holds what was written"


def test_a_volume_that_an_administrator_made_is_claimed_by_a_user_and_kept_afterwards(lab, namespace, tmp_path):
    name = f"{namespace}-admin"
    (tmp_path / "greeting").write_text("from the administrator\n")
    lab.apply(f"""
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: {name}
  hostPath: {{path: {tmp_path}}}
""")
    lab.kubectl("wait", "--for=jsonpath={.status.phase}=Available", f"pv/{name}", "--timeout=30s")
    lab.apply(claim("mine", "500Mi", f"storageClassName: {name}") + pod("reader", "mine"), namespace)
    lab.wait_ready("reader", namespace=namespace)
    assert volume(lab, namespace, "mine")["metadata"]["name"] == name
    assert lab.exec("reader", "cat", "/mine/greeting", namespace=namespace).stdout == "from the administrator\n"
    assert lab.get("pvc", "mine", "-n", namespace)["status"]["capacity"]["storage"] == "1Gi"
    lab.kubectl("delete", "pod/reader", "pvc/mine", "-n", namespace)
    lab.kubectl("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{name}", "--timeout=30s")
    lab.apply(claim("next", "500Mi", f"storageClassName: {name}"), namespace)
    lab.wait_for("the next claim to be looked at", lambda: phase(lab, namespace, "next") == "Pending")
    assert lab.get("pv", name)["spec"]["claimRef"]["name"] == "mine", "a released volume is given to nobody else"
    lab.kubectl("delete", "pv", name)


def test_a_retained_volume_is_kept_and_can_be_claimed_again_with_its_data(lab, namespace, storage_class):
    kept = storage_class("Retain", "Immediate")
    lab.apply(claim("data", more=f"storageClassName: {kept}"), namespace)
    lab.wait_for("a volume at once, without a consumer", lambda: phase(lab, namespace, "data") == "Bound")
    lab.apply(pod("writer", "data"), namespace)
    lab.wait_ready("writer", namespace=namespace)
    lab.exec("writer", "sh", "-c", "echo kept > /data/file && sync", namespace=namespace)
    made = volume(lab, namespace, "data")
    name = made["metadata"]["name"]
    assert made["spec"]["capacity"] == {"storage": "32Mi"}
    told = lab.get("events", "-n", namespace, "--field-selector=reason=ProvisioningSucceeded")["items"]
    assert [event.get("count", 1) for event in told] == [1], "it was made once"
    lab.kubectl("delete", "pod/writer", "pvc/data", "-n", namespace)
    lab.kubectl("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{name}", "--timeout=30s")
    lab.kubectl("patch", "pv", name, "--type=json", "-p", '[{"op": "remove", "path": "/spec/claimRef"}]')
    lab.kubectl("wait", "--for=jsonpath={.status.phase}=Available", f"pv/{name}", "--timeout=30s")
    lab.apply(claim("again", more=f"storageClassName: {kept}\n  volumeName: {name}") + pod("reader", "again"), namespace)
    lab.wait_ready("reader", namespace=namespace)
    assert lab.exec("reader", "cat", "/again/file", namespace=namespace).stdout == "kept\n"
    lab.kubectl("patch", "pv", name, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}')
    lab.kubectl("delete", "pod/reader", "pvc/again", "-n", namespace)
    lab.kubectl("wait", "--for=delete", f"pv/{name}", "--timeout=30s")


def test_a_volume_in_use_survives_a_power_off_and_no_device_is_leaked(lab, namespace, storage_class):
    node = "node-3"
    more = "nodeSelector: {kubernetes.io/hostname: node-3}"
    lab.apply(claim("data", more=f"storageClassName: {storage_class()}") + pod("before", "data", more=more), namespace)
    lab.wait_ready("before", namespace=namespace)
    lab.exec("before", "sh", "-c", "echo kept > /data/file && sync", namespace=namespace)
    before = devices(lab, node)
    assert len(before) == 1
    lab.moorings("node", "poweroff", node)
    try:
        lab.kubectl("wait", "--for=condition=Ready=Unknown", f"node/{node}", "--timeout=30s")
    finally:
        lab.moorings("node", "start", node)
        lab.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")
    lab.kubectl("delete", "pod", "before", "-n", namespace, "--ignore-not-found")
    lab.apply(pod("after", "data", more=more), namespace)
    lab.wait_ready("after", namespace=namespace)
    assert lab.exec("after", "cat", "/data/file", namespace=namespace).stdout == "kept\n"
    assert devices(lab, node) == before
    lab.kubectl("delete", "pod/after", "pvc/data", "-n", namespace)
    lab.wait_for("the device to be given back", lambda: all(kernel_loops.find(inode) is None for inode in before))


def test_an_agent_killed_again_and_again_while_it_provisions_makes_exactly_one_volume_for_each_claim(lab, namespace, storage_class):
    node, wanted = "node-2", f"storageClassName: {storage_class()}"
    before, more = images(lab, node), "nodeSelector: {kubernetes.io/hostname: node-2}\n  tolerations: [{operator: Exists}]"
    claims = [f"data{number}" for number in range(4)]
    lab.apply("".join(claim(name, more=wanted) + pod(f"user-{name}", name, more=more) for name in claims), namespace)
    for name, moment in (("data0", asked), ("data0", made), ("data1", made), ("data2", made)):
        lab.wait_for(f"{name} to be {moment.__name__}", lambda name=name, moment=moment: moment(lab, namespace, name))
        places.kill_agent(lab, node)
    lab.wait_ready(*(f"user-{name}" for name in claims), namespace=namespace)
    handles = {volume(lab, namespace, name)["spec"]["csi"]["volumeHandle"] for name in claims}
    assert len(handles) == len(images(lab, node) - before) == len(claims), "one file for each claim"
    lab.kubectl("delete", "pods,pvc", "--all", "-n", namespace)
    lab.wait_for("all files to go", lambda: images(lab, node) <= before)


def asked(lab, namespace: str, name: str) -> bool:
    return "volume.kubernetes.io/selected-node" in lab.get("pvc", name, "-n", namespace)["metadata"].get("annotations", {})


def made(lab, namespace: str, name: str) -> bool:
    return bool(lab.get("pvc", name, "-n", namespace)["spec"].get("volumeName"))
