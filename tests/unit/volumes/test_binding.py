"""Claims and volumes bind step by step, whatever is lost in between."""

import copy

import pytest

from moorings_core.agent.csi.reach import admits
from moorings_core.controllers.volumes.binding import (
    BIND_COMPLETED,
    PROVISIONER,
    SELECTED_NODE,
    VolumesView,
    claim_writes,
    volume_writes,
)
from moorings_core.controllers.volumes.matching import find_volume

WAITING = {"metadata": {"name": "wait"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}
IMMEDIATE = {"metadata": {"name": "now"}, "provisioner": "x", "volumeBindingMode": "Immediate"}
BY_HAND = {"metadata": {"name": "hand"}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"}


def claim(storage_class="hand", size="1Gi", **spec):
    metadata = {"name": "data", "namespace": "a", "uid": "u1", "resourceVersion": "1"}
    requests = {"resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class}
    return {"metadata": metadata, "spec": {**requests, **spec}}


def volume(name="v", size="1Gi", storage_class="hand", phase="Available", **spec):
    body = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": storage_class}
    return {"metadata": {"name": name, "resourceVersion": "1"}, "spec": {**body, **spec}, "status": {"phase": phase}}


def merge(target, patch):
    for key, value in patch.items():
        if isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


class World:
    """Claims and volumes with the writes applied to them."""

    def __init__(self, claims=(), volumes=(), default=""):
        self.claims = {(c["metadata"]["name"], c["metadata"]["namespace"]): copy.deepcopy(c) for c in claims}
        self.volumes = {v["metadata"]["name"]: copy.deepcopy(v) for v in volumes}
        classes = {c["metadata"]["name"]: c for c in (WAITING, IMMEDIATE, BY_HAND)}
        self.view = VolumesView(
            self.volumes.get,
            lambda: list(self.volumes.values()),
            lambda n, ns: self.claims.get((n, ns)),
            classes.get,
            lambda: default,
        )

    @property
    def claim(self):
        return self.claims["data", "a"]

    def settle(self, one_write_at_a_time=True):
        """Apply writes until nothing is left to do; return how many there were."""
        count = 0
        while writes := [
            *(w for c in self.claims.values() for w in claim_writes(c, self.view)),
            *(w for v in self.volumes.values() for w in volume_writes(v, self.view)),
        ]:
            for write in writes[:1] if one_write_at_a_time else writes:
                target = self.volumes[write.name] if write.resource.plural == "persistentvolumes" else self.claim
                merge(target, copy.deepcopy(write.patch))
                count += 1
            assert count < 50, "the writes never come to an end"
        return count


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_claim_binds_to_the_smallest_volume_that_fits(stepwise):
    world = World([claim(size="2Gi")], [volume("big", "10Gi"), volume("fits", "3Gi"), volume("small", "1Gi")])
    world.settle(stepwise)
    assert world.claim["spec"]["volumeName"] == "fits"
    assert BIND_COMPLETED in world.claim["metadata"]["annotations"]
    assert (world.claim["status"]["phase"], world.claim["status"]["capacity"]) == ("Bound", {"storage": "3Gi"})
    assert {n: v["status"]["phase"] for n, v in world.volumes.items()} == {
        "big": "Available",
        "fits": "Bound",
        "small": "Available",
    }
    assert world.settle() == 0


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(volume(size="500Mi"), id="too small"),
        pytest.param(volume(storage_class="else"), id="other class"),
        pytest.param(volume(volumeMode="Block"), id="other mode"),
        pytest.param(volume(accessModes=["ReadOnlyMany"]), id="other access"),
        pytest.param(volume(phase="Released", claimRef={"name": "data", "namespace": "a", "uid": "old"}), id="of an earlier claim"),
        pytest.param(volume(claimRef={"name": "other", "namespace": "a"}), id="reserved for another"),
    ],
)
def test_a_volume_that_does_not_fit_is_left_alone(other):
    assert find_volume(claim(), [other]) is None


def test_a_reserved_volume_wins_over_a_smaller_one():
    reserved = volume("reserved", "5Gi", claimRef={"name": "data", "namespace": "a"})
    world = World([claim()], [volume("small"), reserved])
    world.settle()
    assert world.claim["spec"]["volumeName"] == "reserved"


def test_a_claim_that_names_its_volume_gets_it():
    world = World([claim(volumeName="v")], [volume("v"), volume("w")])
    world.settle()
    assert world.volumes["v"]["spec"]["claimRef"]["uid"] == "u1"
    assert world.claim["status"]["phase"] == "Bound"


def test_a_class_that_waits_names_its_provisioner_only_after_a_node_was_chosen():
    world = World([claim("wait")])
    world.settle()
    assert "annotations" not in world.claim["metadata"]
    world.claim["metadata"]["annotations"] = {SELECTED_NODE: "n"}
    world.settle()
    assert world.claim["metadata"]["annotations"][PROVISIONER] == "x"


def test_an_immediate_class_names_its_provisioner_at_once():
    world = World([claim("now")])
    world.settle()
    assert world.claim["metadata"]["annotations"][PROVISIONER] == "x"
    assert world.claim["status"]["phase"] == "Pending"


def test_a_provisioned_volume_is_bound():
    made = volume("pvc-u1", storage_class="wait", phase="", claimRef={"name": "data", "namespace": "a", "uid": "u1"})
    world = World([claim("wait")], [made])
    world.settle()
    assert (world.claim["spec"]["volumeName"], world.volumes["pvc-u1"]["status"]["phase"]) == ("pvc-u1", "Bound")


def test_a_volume_whose_claim_is_gone_is_released_and_never_rebound():
    world = World([], [volume(phase="Bound", claimRef={"name": "data", "namespace": "a", "uid": "gone"})])
    world.settle()
    assert world.volumes["v"]["status"]["phase"] == "Released"
    again = World([claim()], world.volumes.values())
    again.settle()
    assert "volumeName" not in again.claim["spec"]


def test_a_bound_claim_whose_volume_vanished_is_lost():
    world = World([claim(volumeName="gone")])
    world.claim["metadata"]["annotations"] = {BIND_COMPLETED: "yes"}
    world.settle()
    assert world.claim["status"]["phase"] == "Lost"


def test_a_claim_without_a_class_gets_the_default_when_there_is_one():
    world = World([claim(None)], default="now")
    world.settle()
    assert world.claim["spec"]["storageClassName"] == "now"


@pytest.mark.parametrize(
    ("topologies", "admitted"),
    [
        ([], True),
        ([{"matchLabelExpressions": [{"key": "place", "values": ["here", "there"]}]}], True),
        ([{"matchLabelExpressions": [{"key": "place", "values": ["there"]}]}], False),
        ([{"matchLabelExpressions": [{"key": "other", "values": ["here"]}]}], False),
        ([{"matchLabelExpressions": [{"key": "place", "values": ["there"]}]}, {"matchLabelExpressions": []}], True),
    ],
)
def test_a_class_admits_the_drivers_of_its_topologies(topologies, admitted):
    assert admits(topologies, {"place": "here"}) is admitted
