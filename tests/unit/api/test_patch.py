"""The three patch languages: every directive of the strategic one, RFC 6902's and RFC 7386's cases."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.api.patch import PatchDoesNotFit, PatchError, json_patch, merge_patch, strategic_patch
from moorings_core.registry.schema import named

DEPLOYMENT, POD, SERVICE = (named(f"io.k8s.api.{n}") for n in ("apps.v1.Deployment", "core.v1.Pod", "core.v1.Service"))


def pod(**spec):
    return {"metadata": {"name": "p"}, "spec": spec}


def containers(*names, **fields):
    return [{"name": n, "image": f"{n}:1", **fields} for n in names]


STRATEGIC = {
    "a field is set, another kept": (pod(a=1, hostname="h"), {"spec": {"hostname": "x"}}, pod(a=1, hostname="x")),
    "null takes a field away": (pod(hostname="h", subdomain="s"), {"spec": {"hostname": None}}, pod(subdomain="s")),
    "null for what is not there changes nothing": (pod(), {"spec": {"hostname": None}}, pod()),
    "a list with a merge key merges by it": (
        pod(containers=containers("a", "b")),
        {"spec": {"containers": [{"name": "b", "image": "b:2"}, {"name": "c", "image": "c:1"}]}},
        pod(containers=[*containers("a"), {"name": "b", "image": "b:2"}, *containers("c")]),
    ),
    "$patch: delete takes an item away": (
        pod(containers=containers("a", "b")),
        {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}},
        pod(containers=containers("b")),
    ),
    "$patch: delete of what is not there changes nothing": (
        pod(containers=containers("a")),
        {"spec": {"containers": [{"name": "z", "$patch": "delete"}]}},
        pod(containers=containers("a")),
    ),
    "$patch: replace replaces a list": (
        pod(containers=containers("a", "b")),
        {"spec": {"containers": [{"$patch": "replace"}, *containers("z")]}},
        pod(containers=containers("z")),
    ),
    "$patch: replace replaces an object": (
        pod(securityContext={"runAsUser": 1, "runAsGroup": 2}),
        {"spec": {"securityContext": {"$patch": "replace", "runAsUser": 3}}},
        pod(securityContext={"runAsUser": 3}),
    ),
    "$patch: delete empties an object": (
        pod(securityContext={"runAsUser": 1}),
        {"spec": {"securityContext": {"$patch": "delete"}}},
        pod(securityContext={}),
    ),
    "$patch: merge is what happens anyway": (
        pod(securityContext={"runAsUser": 1}),
        {"spec": {"securityContext": {"$patch": "merge", "runAsGroup": 2}}},
        pod(securityContext={"runAsUser": 1, "runAsGroup": 2}),
    ),
    "$setElementOrder orders what is named, and leaves the rest before what it preceded": (
        pod(containers=containers("a", "b", "c")),
        {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}},
        pod(containers=containers("b", "c", "a")),
    ),
    "what a patch adds to a list comes first": (
        pod(containers=containers("a", "b")),
        {"spec": {"containers": containers("n", "b")}},
        pod(containers=containers("n", "a", "b")),
    ),
    "$setElementOrder with an addition": (
        pod(containers=containers("a", "b")),
        {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "n"}, {"name": "a"}], "containers": containers("n")}},
        pod(containers=containers("b", "n", "a")),
    ),
    "$retainKeys drops the other fields of a union": (
        pod(volumes=[{"name": "v", "emptyDir": {}}]),
        {"spec": {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}},
        pod(volumes=[{"name": "v", "hostPath": {"path": "/x"}}]),
    ),
    "$deleteFromPrimitiveList takes values out of a set": (
        {"metadata": {"finalizers": ["a/a", "b/b", "c/c"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b/b"]}},
        {"metadata": {"finalizers": ["a/a", "c/c"]}},
    ),
    "a set of primitives is united": (
        {"metadata": {"finalizers": ["a/a"]}},
        {"metadata": {"finalizers": ["b/b", "a/a"]}},
        {"metadata": {"finalizers": ["b/b", "a/a"]}},
    ),
    "$setElementOrder orders primitives": (
        {"metadata": {"finalizers": ["a/a", "b/b"]}},
        {"metadata": {"$setElementOrder/finalizers": ["b/b", "a/a"]}},
        {"metadata": {"finalizers": ["b/b", "a/a"]}},
    ),
    "an atomic list is replaced": (
        pod(containers=containers("a", command=["x", "y"])),
        {"spec": {"containers": [{"name": "a", "command": ["z"]}]}},
        pod(containers=containers("a", command=["z"])),
    ),
    "ports merge by containerPort": (
        pod(containers=containers("a", ports=[{"containerPort": 80}, {"containerPort": 81}])),
        {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "$patch": "delete"}]}]}},
        pod(containers=containers("a", ports=[{"containerPort": 81}])),
    ),
    "labels merge by key": (
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None, "c": "3"}}},
        {"metadata": {"labels": {"b": "2", "c": "3"}}},
    ),
    "an unknown field is taken as it is": (pod(), {"spec": {"what": [1, {"x": None}]}}, pod(what=[1, {"x": None}])),
}


@pytest.mark.parametrize("name", STRATEGIC)
def test_strategic(name):
    document, patch, expected = STRATEGIC[name]
    before = copy.deepcopy((document, patch))
    assert strategic_patch(document, patch, POD) == expected
    assert (document, patch) == before, "neither argument is changed"


def test_recreate_drops_the_rolling_update_by_retained_keys():
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_patch(document, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_service_ports_merge_by_port():
    document = {"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}}
    patch = {"spec": {"ports": [{"port": 81, "targetPort": 9}]}}
    expected = [{"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": 9}]
    assert strategic_patch(document, patch, SERVICE) == {"spec": {"ports": expected}}


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"containers": ["x"]}},
        {"spec": {"securityContext": {"$patch": "invert"}}},
        {"spec": {"volumes": [{"name": "v", "$retainKeys": "name"}]}},
    ],
    ids=str,
)
def test_a_malformed_strategic_patch_is_refused(patch):
    with pytest.raises(PatchError):
        strategic_patch(pod(containers=containers("a")), patch, POD)


JSON = [
    ([{"op": "add", "path": "/a", "value": 1}], {}, {"a": 1}),
    ([{"op": "add", "path": "/l/0", "value": 1}], {"l": [2]}, {"l": [1, 2]}),
    ([{"op": "add", "path": "/l/-", "value": 3}], {"l": [2]}, {"l": [2, 3]}),
    ([{"op": "add", "path": "", "value": {"b": 1}}], {"a": 1}, {"b": 1}),
    ([{"op": "remove", "path": "/a"}], {"a": 1}, {}),
    ([{"op": "remove", "path": "/l/1"}], {"l": [1, 2, 3]}, {"l": [1, 3]}),
    ([{"op": "replace", "path": "/a", "value": {"b": 1}}], {"a": 1}, {"a": {"b": 1}}),
    ([{"op": "replace", "path": "/absent", "value": 1}], {"a": 1}, {"a": 1, "absent": 1}),
    ([{"op": "move", "from": "/a", "path": "/b"}], {"a": 1}, {"b": 1}),
    ([{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1]}, {"a": [1], "b": [1]}),
    ([{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/a"}], {"a": 1}, {}),
    ([{"op": "add", "path": "/a~1b~0c", "value": 1}], {}, {"a/b~c": 1}),
    ([{"op": "test", "path": "/absent", "value": None}], {}, {}),
]


@pytest.mark.parametrize(("operations", "document", "expected"), JSON, ids=str)
def test_json_patch(operations, document, expected):
    before = copy.deepcopy(document)
    assert json_patch(document, operations) == expected
    assert document == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/absent"},
        {"op": "replace", "path": "/absent/below", "value": 1},
        {"op": "add", "path": "/absent/x", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "/a/x", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "add", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
        {"op": "twist", "path": "/a"},
        {"op": "move", "from": "/absent", "path": "/b"},
        {"path": "/a"},
        "add",
    ],
    ids=str,
)
def test_an_operation_that_does_not_fit_is_refused(operation):
    with pytest.raises(PatchDoesNotFit):
        json_patch({"a": 1, "l": [1]}, [operation])


@pytest.mark.parametrize("operations", [{}, "x", [{"op": "add", "path": "/a", "value": 1}] * 10_001], ids=["object", "text", "too many"])
def test_what_is_no_json_patch_is_refused(operations):
    with pytest.raises(PatchError) as caught:
        json_patch({}, operations)
    assert not isinstance(caught.value, PatchDoesNotFit)


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
    ids=str,
)
def test_merge_patch_as_rfc_7386_says(document, patch, expected):
    assert merge_patch(document, patch) == expected


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=10,
)


@given(document=trees, patch=trees)
def test_merging_twice_is_merging_once(document, patch):
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


@given(document=st.dictionaries(st.text("abc", max_size=2), trees, max_size=3), other=trees)
def test_adding_and_removing_leaves_a_document_as_it_was(document, other):
    operations = [{"op": "add", "path": "/new", "value": other}, {"op": "remove", "path": "/new"}]
    assert json_patch(document, operations) == document
