"""Schema walks: unknown fields, pruning, wrong types."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.registry.schema import base64_complaint, check_types, find_unknown, is_clean, named, prune

DEPLOYMENT = named("io.k8s.api.apps.v1.Deployment")


def test_all_unknown_fields_are_found_with_their_paths():
    container = {"name": "a", "imagee": "x", "ports": [{"containerPort": 80}, {"containerport": 81}]}
    obj = {"metadata": {"labels": {"any": "thing"}}, "spec": {"replica": 1, "template": {"spec": {"containers": [container]}}}}
    where = "spec.template.spec.containers[0]"
    assert find_unknown(obj, DEPLOYMENT) == ["spec.replica", f"{where}.imagee", f"{where}.ports[1].containerport"]


def test_pruning_drops_unknown_fields_and_nulls_and_copies_only_what_changes():
    clean = {"spec": {"replicas": 1}}
    assert prune(clean, DEPLOYMENT) is clean
    dirty = {"metadata": clean, "spec": {"replicas": 1, "paused": None, "extra": 1}}
    assert prune(dirty, DEPLOYMENT) == {"metadata": {}, "spec": {"replicas": 1}}
    assert dirty["spec"]["extra"] == 1


@pytest.mark.parametrize(
    ("obj", "path"),
    [
        ({"spec": {"replicas": "3"}}, "spec.replicas"),
        ({"spec": []}, "spec"),
        ({"metadata": {"labels": {"a": 1}}}, "metadata.labels.a"),
        ({"spec": {"template": {"spec": {"containers": {}}}}}, "spec.template.spec.containers"),
        ({"spec": {"paused": "true"}}, "spec.paused"),
        ({"spec": {"replicas": True}}, "spec.replicas"),
    ],
    ids=str,
)
def test_a_wrong_json_type_is_named(obj, path):
    assert [where for where, _ in check_types(obj, DEPLOYMENT)] == [path]


MAIN = {"name": "c"}


def workload(**container):
    return {"spec": {"template": {"spec": {"containers": [{**MAIN, **container}]}}}}


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        ({"spec": {"replicas": "3"}}, "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"spec": {"replicas": 1.5}}, "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"spec": []}, "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
        (
            {"metadata": {"labels": []}},
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            workload(image=1),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
        ),
        (
            workload(resources={"limits": {"cpu": "much"}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_decoded_is_told_in_the_words_of_go(obj, said):
    assert [text for _, text in check_types(obj, DEPLOYMENT)] == [said]
    assert not is_clean(obj, DEPLOYMENT)


@pytest.mark.parametrize(
    ("text", "at"), [("not base64", 3), ("YQ=", 0), ("YWJjYQ", 4), ("YWJj!", 4), ("YQ==", None), ("", None), ("YW\nJj", None)]
)
def test_what_is_not_base64_is_told_where(text, at):
    assert base64_complaint(text) == ("" if at is None else f"illegal base64 data at input byte {at}")
    assert is_clean({"data": {"a": text}}, named("io.k8s.api.core.v1.Secret")) is (at is None)


def test_quantities_and_ports_take_numbers_and_strings():
    container = {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}, "readinessProbe": {"httpGet": {"port": "web"}}}
    assert check_types({"spec": {"template": {"spec": {"containers": [container]}}}}, DEPLOYMENT) == []


def test_patch_facts_are_on_the_nodes():
    containers = DEPLOYMENT.properties["spec"].properties["template"].properties["spec"].properties["containers"]
    assert (containers.type, containers.merge_key, containers.list_type) == ("array", "name", "map")
    ports = containers.items.properties["ports"]
    assert (ports.merge_key, ports.list_map_keys) == ("containerPort", ("containerPort", "protocol"))
    assert "retainKeys" in DEPLOYMENT.properties["spec"].properties["strategy"].patch_strategy


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"metadata": {"labels": {}, "annotations": {"a": ""}}}, {"metadata": {"annotations": {"a": ""}}}),
        ({"metadata": {"finalizers": []}}, {"metadata": {}}),
        ({"spec": {"containers": [], "nodeSelector": {}}}, {"spec": {"containers": []}}),
        ({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}, {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        ({"spec": {"securityContext": {}, "tolerations": []}}, {"spec": {"securityContext": {}}}),
    ],
)
def test_empty_optional_maps_and_lists_are_none_and_empty_objects_are_something(given, kept):
    assert prune(given, named("io.k8s.api.core.v1.Pod")) == kept


@given(st.data())
def test_the_quick_walk_passes_what_the_three_walks_pass_and_nothing_else(data):
    leaf = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a"])
    names = st.sampled_from(["metadata", "labels", "name", "spec", "replicas", "template", "containers", "emptyDir", "volumes", "nope"])
    tree = data.draw(
        st.recursive(leaf, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3), max_leaves=8)
    )
    body = {"spec": tree}
    dirty = check_types(body, DEPLOYMENT) or find_unknown(body, DEPLOYMENT) or prune(body, DEPLOYMENT) is not body
    assert is_clean(body, DEPLOYMENT) is not bool(dirty)


def test_amounts_are_stored_in_their_shortest_form():
    given = workload(resources={"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": "250m"}})
    assert not is_clean(given, DEPLOYMENT)
    stored = prune(given, DEPLOYMENT)
    assert stored == workload(resources={"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "250m"}})
    assert is_clean(stored, DEPLOYMENT)
