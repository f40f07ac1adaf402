"""What upstream writes of fields that hold nothing, and what it leaves out of those that were given."""

import json
import re

import pytest

from moorings_core.registry.schema import is_clean, named, prune
from moorings_core.registry.shape import fill, shape_of

from .module_cache import module

API = "io.k8s.api."


@pytest.mark.parametrize(
    ("kind", "given", "filled"),
    [
        pytest.param("core.v1.LimitRange", {}, {"spec": {"limits": None}}, id="an object and its list"),
        pytest.param("rbac.v1.Role", {"rules": []}, {"rules": None}, id="an empty list"),
        pytest.param("networking.v1.NetworkPolicy", {"spec": {}}, {"spec": {"podSelector": {}}}, id="an object in one that is there"),
        pytest.param("scheduling.v1.PriorityClass", {}, {"value": 0}, id="a number"),
        pytest.param("rbac.v1.RoleBinding", {"roleRef": {"name": "x"}}, {"roleRef": {"apiGroup": "", "kind": "", "name": "x"}}, id="texts"),
        pytest.param(
            "resource.v1.ResourceClaimTemplate", {}, {"spec": {"metadata": {}, "spec": {"devices": {"requests": None}}}}, id="deep"
        ),
        pytest.param(
            "core.v1.Pod",
            {"spec": {"containers": [{"name": "c"}]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {
                "spec": {"containers": [{"name": "c", "resources": {}}]},
                "status": {"conditions": [{"type": "Ready", "status": "True", "lastProbeTime": None, "lastTransitionTime": None}]},
            },
            id="a time is null, not left out",
        ),
        pytest.param("core.v1.ConfigMap", {"data": {"a": ""}}, {"data": {"a": ""}}, id="nothing is missing"),
    ],
)
def test_fields_that_hold_nothing_are_written_as_go_does(kind, given, filled):
    before = json.dumps(given)
    made = shape_of(API + kind).filled(given)
    made.pop("metadata", None) if "metadata" not in given else None
    made.pop("status", None) if "status" not in given else None
    assert made == filled
    assert json.dumps(given) == before, "what was given may belong to somebody else"


def test_an_object_that_misses_nothing_is_returned_itself():
    whole = {"metadata": {}, "spec": {"podSelector": {}}}
    assert shape_of(API + "networking.v1.NetworkPolicy").filled(whole) is whole


def test_metadata_is_left_to_the_server():
    obj = {"metadata": {"ownerReferences": [{"name": "x"}]}, "apiVersion": "v1"}
    fill(obj, named(API + "core.v1.LimitRange"))
    assert obj == {"metadata": {"ownerReferences": [{"name": "x"}]}, "apiVersion": "v1", "spec": {"limits": None}}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param({"ports": [{"name": "", "nodePort": 0, "port": 0}]}, {"ports": [{"port": 0}]}, id="zeros that Go leaves out"),
        pytest.param({"ports": [{"appProtocol": ""}]}, {"ports": [{"appProtocol": ""}]}, id="a pointer may point to nothing"),
        pytest.param({"publishNotReadyAddresses": False}, {}, id="false"),
        pytest.param({"selector": {"a": ""}}, {"selector": {"a": ""}}, id="a map's values stay"),
    ],
)
def test_zeros_that_go_leaves_out_are_none(given, kept):
    schema = named(API + "core.v1.ServiceSpec")
    assert prune(given, schema) == kept
    assert is_clean(given, schema) == (given == kept)


def test_an_applied_configuration_keeps_its_zeros():
    given = {"unschedulable": False}
    assert prune(given, named(API + "core.v1.NodeSpec"), zeros=True) == given


def test_upstream_s_own_examples_miss_nothing():
    """Every example has every field, so that filling it may add none."""
    folder = module("k8s.io/api@v0.37.2") / "testdata/HEAD"
    looked = 0
    for file in folder.glob("*.json"):
        found = re.fullmatch(r"(\w+)(?:\.[\w.]+?)?\.(v\d+)\.(\w+)\.json", file.name)
        if found is None or found[3].endswith(("List", "Options", "Review", "WatchEvent")):
            continue
        name = f"{API}{found[1]}.{found[2]}.{found[3]}"
        try:
            shape = shape_of(name)
        except KeyError:
            continue
        example = json.loads(file.read_text())
        assert shape.filled(example) is example, file.name
        looked += 1
    assert looked > 40
