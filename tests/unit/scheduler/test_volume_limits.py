"""Volumes counted against what a node takes, and claims for one pod; a scheduler's view of claims without an API."""

from __future__ import annotations

from random import Random

import pytest

from moorings_core.ports.objects import Key
from moorings_core.scheduler.columns import Columns, PlacedPod
from moorings_core.scheduler.decide import decide
from moorings_core.scheduler.footprint import footprint
from moorings_core.scheduler.pod_class import classify
from moorings_core.scheduler.volume_limits import TOO_MANY, NodeView, reason_against, volumes_of, wanted_by
from moorings_core.scheduler.volumes import IN_USE, VolumeView, claim_names, claims_of

from .objects import World, node, pod

DRIVER = "d.example.com"


def claim(name, volume="", mode="ReadWriteOnce", storage_class="slow"):
    annotations = {"pv.kubernetes.io/bind-completed": "yes"} if volume else {}
    metadata = {"name": name, "namespace": "d", "uid": name, "annotations": annotations}
    return {"metadata": metadata, "spec": {"volumeName": volume, "storageClassName": storage_class, "accessModes": [mode]}}


def volume(name, **source):
    return {"metadata": {"name": name}, "spec": source or {"csi": {"driver": DRIVER, "volumeHandle": f"handle-{name}"}}}


def user(name, *claims):
    return pod(name, volumes=[{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims])


class Storage:
    """Claims, volumes, classes and what is on one node `n`."""

    def __init__(self, *claims, volumes=(), limit=None, drivers=None, declared=None):
        self.claims = {Key("d", c["metadata"]["name"]): c for c in claims}
        self.volumes = {v["metadata"]["name"]: v for v in volumes}
        self.columns, self.attachments = Columns(), []
        allocatable = {} if limit is None else {"allocatable": {"count": limit}}
        entries = [{"name": DRIVER, **allocatable}] if drivers is None else drivers
        classes = {"slow": {"provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"}}
        classes["by-hand"] = {"provisioner": "kubernetes.io/no-provisioner"}
        self.view = VolumeView(
            lambda name, namespace: self.claims.get(Key(namespace, name)),
            self.volumes.get,
            lambda: list(self.volumes.values()),
            classes.get,
            lambda name: declared,
            users=self.columns.users_of,
        )
        self.nodes = NodeView(lambda name: {"spec": {"drivers": entries}}, self.columns.claims_on, lambda name: self.attachments)

    def put(self, pod_):
        key = Key("d", pod_["metadata"]["name"])
        self.columns.place(PlacedPod(key, "n", footprint(pod_), {}, False, 0, claim_names(pod_)))

    def refuses(self, pod_):
        return reason_against(wanted_by(pod_, self.view), "n", self.view, self.nodes)


def test_a_node_takes_as_many_volumes_as_its_driver_says():
    storage = Storage(*(claim(c, f"v{c}") for c in "abc"), volumes=[volume(f"v{c}") for c in "abc"], limit=2)
    assert not storage.refuses(user("p", "a", "b"))
    assert storage.refuses(user("p", "a", "b", "c")) == TOO_MANY
    storage.put(user("first", "a", "b"))
    assert storage.refuses(user("p", "c")) == TOO_MANY
    assert not storage.refuses(user("p", "a")), "a volume counts once, however many pods use it"
    storage.columns.take_away(Key("d", "first"))
    assert not storage.refuses(user("p", "c"))


def test_a_claim_without_a_volume_counts_under_its_class_and_one_that_nobody_provisions_does_not():
    storage = Storage(claim("a"), claim("b"), claim("c", storage_class="by-hand"), claim("gone", "missing"), limit=1)
    storage.put(user("first", "a"))
    assert storage.refuses(user("p", "b")) == TOO_MANY
    assert storage.refuses(user("p", "gone")) == TOO_MANY, "a volume that is not there is counted by its class"
    assert not storage.refuses(user("p", "c"))
    assert volumes_of([Key("d", "unknown")], storage.view) == {}


def test_what_is_attached_counts_also_where_no_pod_uses_it_and_once_where_one_does():
    storage = Storage(*(claim(c, f"v{c}") for c in "ab"), volumes=[volume("va"), volume("vb"), volume("local", local={})], limit=1)
    for name in ("va", "local", "unknown"):
        storage.attachments.append({"spec": {"attacher": DRIVER, "source": {"persistentVolumeName": name}}})
    assert storage.refuses(user("p", "b")) == TOO_MANY
    assert not storage.refuses(user("p", "a"))
    storage.put(user("first", "a"))
    assert not storage.refuses(user("p", "a"))


@pytest.mark.parametrize("volumes", [[volume("va")], [volume("va", nfs={})]])
def test_without_a_limit_there_is_none(volumes):
    storage = Storage(claim("a", "va"), volumes=volumes)
    assert not storage.refuses(user("p", "a"))


def test_a_limit_of_nothing_is_one():
    assert Storage(claim("a"), limit=0).refuses(user("p", "a")) == TOO_MANY


def test_a_driver_that_must_be_there_keeps_pods_off_nodes_without_it():
    must = {"spec": {"preventPodSchedulingIfMissing": True}}
    assert Storage(claim("a"), drivers=[], declared=must).refuses(user("p", "a")) == f"{DRIVER} CSI driver is not installed on the node"
    assert not Storage(claim("a"), declared=must).refuses(user("p", "a"))
    assert not Storage(claim("a"), drivers=[], declared={"spec": {}}).refuses(user("p", "a"))


def test_a_claim_for_one_pod_is_taken_as_soon_as_another_pod_is_assumed_on_a_node():
    storage = Storage(claim("only", mode="ReadWriteOncePod"), claim("many"))
    first, second = user("first", "only"), user("second", "only", "many")
    assert not claims_of(second, storage.view).taken()
    storage.put(first)
    assert claims_of(second, storage.view).taken()
    assert not claims_of(first, storage.view).taken(), "not by itself"
    storage.put(user("third", "many"))
    assert not claims_of(user("fourth", "many"), storage.view).taken()
    storage.columns.take_away(Key("d", "first"))
    assert not claims_of(second, storage.view).taken()


@pytest.mark.parametrize("reason", [IN_USE, TOO_MANY])
def test_what_other_pods_have_taken_is_told_as_upstream_does(reason):
    world, wanting = World(node("a"), node("b")), pod("p")
    row = world.rows.of(classify(wanting, Key("d", "p")), world.columns)
    decision = decide(world.columns, row, Random(0), dict.fromkeys(world.columns.index.values(), reason))
    assert decision.message() == (
        f"0/2 nodes are available: 2 {reason}. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    )
