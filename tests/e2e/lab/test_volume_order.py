"""Claims and volumes that go in whatever order, and come again under the same name: nothing is lost, rebound or left behind.

Facts of storage, test 19.
"""

from __future__ import annotations

import pytest

from .test_faults_server import kill_server, wait_server
from .test_storage import CLASS, claim, home, images, phase, pod, volume

pytestmark = pytest.mark.lab
PROTECTION = "kubernetes.io/pv-protection"
PROVISIONED = "external-provisioner.volume.kubernetes.io/finalizer"


@pytest.fixture
def made_class(lab, namespace):
    """A function that makes a StorageClass with a reclaim policy, which goes after the test."""
    made = []

    def make(policy, mode="WaitForFirstConsumer"):
        name = f"{namespace}-order-{len(made)}"
        lab.apply(CLASS.format(name=name, policy=policy, mode=mode))
        made.append(name)
        return f"storageClassName: {name}"

    yield make
    for name in made:
        lab.kubectl("delete", "storageclass", name)


def is_gone(lab, *words):
    return bool(lab.kubectl("get", *words, check=False).returncode)


def used(lab, namespace, more, name="data"):
    """A claim with a pod that uses it; return the volume and its file."""
    lab.apply(claim(name, more=more) + pod(f"user-{name}", name), namespace)
    lab.wait_ready(f"user-{name}", namespace=namespace)
    made = volume(lab, namespace, name)
    node = home(lab, namespace, f"user-{name}")
    (file,) = (f for f in images(lab, node) if f.name.startswith(made["spec"]["csi"]["volumeHandle"]))
    return made["metadata"]["name"], file


def test_a_volume_deleted_before_its_claim_is_kept_until_the_claim_goes_and_its_data_goes_with_it(lab, namespace, made_class):
    name, file = used(lab, namespace, made_class("Delete"))
    lab.kubectl("delete", "pv", name, "--wait=false")
    lab.exec("user-data", "sh", "-c", "echo kept > /data/file && sync", namespace=namespace)
    going = lab.get("pv", name)["metadata"]
    assert going["deletionTimestamp"]
    assert {PROTECTION, PROVISIONED} <= set(going["finalizers"])
    assert phase(lab, namespace, "data") == "Bound"
    lab.kubectl("delete", "pvc", "data", "-n", namespace, "--wait=false")
    assert lab.exec("user-data", "cat", "/data/file", namespace=namespace).stdout == "kept\n", "a claim in use goes with its last pod"
    lab.kubectl("delete", "pod", "user-data", "-n", namespace, "--wait=false")
    kill_server(lab)
    wait_server(lab)
    lab.wait_for("the claim to go", lambda: is_gone(lab, "pvc", "data", "-n", namespace))
    lab.wait_for("the volume to go", lambda: is_gone(lab, "pv", name))
    assert not file.exists(), "no volume is forgotten whose object was deleted first"


def test_a_claim_that_comes_again_under_its_name_gets_a_volume_of_its_own(lab, namespace, made_class):
    kept = made_class("Retain")
    name, file = used(lab, namespace, kept)
    lab.exec("user-data", "sh", "-c", "echo old > /data/file && sync", namespace=namespace)
    before = lab.get("pvc", "data", "-n", namespace)["metadata"]["uid"]
    lab.kubectl("delete", "pod/user-data", "pvc/data", "-n", namespace)
    again, other = used(lab, namespace, kept)
    assert again != name
    assert lab.exec("user-data", "sh", "-c", "test -e /data/file", namespace=namespace, check=False).returncode
    released = lab.get("pv", name)
    assert released["status"]["phase"] == "Released"
    assert released["spec"]["claimRef"]["uid"] == before, "a retained volume is given to nobody"
    for each in (name, again):
        lab.kubectl("patch", "pv", each, "-p", '{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}')
    lab.kubectl("delete", "pod/user-data", "pvc/data", "-n", namespace)
    lab.kubectl("wait", "--for=delete", f"pv/{name}", f"pv/{again}", "--timeout=30s")
    assert not file.exists() and not other.exists()


def test_a_claim_deleted_while_its_volume_is_made_leaves_none(lab, namespace, made_class):
    more = made_class("Delete", "Immediate")
    nodes = [n["metadata"]["name"] for n in lab.get("nodes")["items"] if n["metadata"]["name"] != "server"]
    before = {node: images(lab, node) for node in nodes}
    names = [f"gone{number}" for number in range(6)]
    for name in names:
        lab.apply(claim(name, more=more), namespace)
        lab.kubectl("delete", "pvc", name, "-n", namespace, "--wait=false")
    kill_server(lab)
    wait_server(lab)
    for name in names:
        lab.wait_for(f"{name} to go", lambda name=name: is_gone(lab, "pvc", name, "-n", namespace))

    def left():
        return [v for v in lab.get("pv")["items"] if v["spec"].get("claimRef", {}).get("namespace") == namespace]

    lab.wait_for("their volumes to go", lambda: not left())
    lab.wait_for("their files to go", lambda: {node: images(lab, node) for node in nodes} == before)
