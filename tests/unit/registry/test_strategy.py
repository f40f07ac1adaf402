"""What creation, updates and deletion do to an object, kind by kind, as upstream's strategies have it."""

from __future__ import annotations

import copy

import pytest

from moorings_core.registry import defaults, strategy

from .objects import KINDS, changed, defaulted, resource

TEMPLATES = "deprecated.daemonset.template.generation"


def created(name, changes=None):
    """An object as its creation leaves it."""
    group, plural, obj = KINDS[name]
    made = defaulted(group, plural, changed(obj, {"metadata.uid": "u", **(changes or {})}))
    strategy.prepare_create(resource(group, plural), made)
    return made


def updated(name, changes):
    """An object after an update."""
    group, plural, _ = KINDS[name]
    old = created(name)
    new = changed(old, changes)
    strategy.prepare_update(resource(group, plural), new, old)
    return new


COUNTED = ["pod", "deployment", "replicaset", "daemonset", "statefulset", "job", "cronjob", "priority", "slice", "autoscaler", "budget"]
UNCOUNTED = ["service", "claim", "volume", "config", "secret", "node", "role", "binding", "class", "namespace", "driver"]


@pytest.mark.parametrize("name", COUNTED)
def test_a_kind_that_counts_its_generations_begins_with_the_first(name):
    assert created(name)["metadata"]["generation"] == 1


@pytest.mark.parametrize("name", UNCOUNTED)
def test_the_other_kinds_have_no_generation(name):
    assert "generation" not in created(name)["metadata"]


@pytest.mark.parametrize(
    ("name", "changes", "generation"),
    [
        ("deployment", {"metadata.labels": {"a": "b"}}, 1),
        ("deployment", {"metadata.annotations": {"a": "b"}}, 2),
        ("deployment", {"spec.replicas": 7}, 2),
        ("deployment", {"status": {"replicas": 7}}, 1),
        ("slice", {"metadata.labels": {"a": "b"}}, 2),
        ("slice", {"endpoints": [{"addresses": ["10.0.0.1"], "deprecatedTopology": {"a": "b"}}]}, 2),
        ("priority", {"description": "new"}, 1),
        ("driver", {"spec.podInfoOnMount": True}, 1),
        ("autoscaler", {"spec.maxReplicas": 9}, 2),
    ],
)
def test_an_update_of_what_is_asked_for_is_a_new_generation(name, changes, generation):
    assert updated(name, changes)["metadata"].get("generation") == generation


@pytest.mark.parametrize(
    ("name", "labels", "owners"),
    [
        pytest.param("service", {"new": "a"}, ["new"], id="as the writer says"),
        pytest.param("deployment", {"old": "a"}, ["new"], id="without the labels"),
        pytest.param("pod", {"new": "a"}, ["old"], id="without the owners"),
        pytest.param("flow", {"old": "a"}, ["old"], id="without any"),
    ],
)
def test_who_writes_the_status_writes_metadata_as_far_as_the_kind_lets_it(name, labels, owners):
    group, plural, obj = KINDS.get(name, ("flowcontrol.apiserver.k8s.io", "flowschemas", {"metadata": {"name": "x"}}))
    old = changed(obj, {"metadata.labels": {"old": "a"}, "metadata.ownerReferences": ["old"]})
    new = changed(old, {"metadata.labels": {"new": "a"}, "metadata.ownerReferences": ["new"], "status": {"phase": "a"}})
    strategy.prepare_update(resource(group, plural), new, old, "status")
    assert (new["metadata"]["labels"], new["metadata"]["ownerReferences"], new["status"]) == (labels, owners, {"phase": "a"})


def test_an_endpoint_slice_takes_no_topology():
    after = updated("slice", {"endpoints": [{"addresses": ["10.0.0.1"], "deprecatedTopology": {"a": "b"}}]})
    assert after["endpoints"] == [{"addresses": ["10.0.0.1"]}]


def test_a_daemon_set_counts_its_templates_and_nobody_else_does():
    assert created("daemonset")["metadata"]["annotations"] == {TEMPLATES: "1"}
    assert updated("daemonset", {"metadata.annotations": {TEMPLATES: "9"}})["metadata"]["annotations"] == {TEMPLATES: "1"}
    after = updated("daemonset", {"spec.template.spec.hostNetwork": True, "metadata.annotations": {"a": "b"}})
    assert after["metadata"]["annotations"] == {"a": "b", TEMPLATES: "2"}


def test_a_job_without_a_name_is_prepared_and_left_to_validation():
    job = created("job", {"metadata.name": ...})
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}


def test_a_job_has_the_labels_of_its_pods_where_it_has_none_of_its_own():
    assert created("job")["metadata"]["labels"]["controller-uid"] == "u"
    assert created("job", {"metadata.labels": {"a": "b"}})["metadata"]["labels"] == {"a": "b"}


def test_labels_and_selectors_that_a_job_brings_are_kept_for_validation_to_judge():
    job = created("job", {"spec.selector": {"matchLabels": {"a": "b"}}, "spec.template.metadata": {"labels": {"job-name": "other"}}})
    assert job["spec"]["selector"]["matchLabels"] == {"a": "b", "batch.kubernetes.io/controller-uid": "u"}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "other"


@pytest.mark.parametrize(("name", "policy"), [("job", "Orphan"), ("cronjob", "Background"), ("deployment", "Background")])
def test_what_happens_to_dependents_where_the_client_does_not_say(name, policy):
    group, plural, _ = KINDS[name]
    assert strategy.default_propagation(resource(group, plural)) == policy


@pytest.mark.parametrize("name", KINDS)
def test_a_deletion_is_answered_with_the_object_where_upstream_does(name):
    group, plural, _ = KINDS[name]
    returned = {"pod", "service", "claim", "bound claim", "volume", "class", "driver", "namespace"}
    assert strategy.returns_deleted(resource(group, plural)) is (name in returned)


def test_a_pod_that_is_gone_at_once_was_marked_in_the_answer():
    pod = created("pod")
    before = copy.deepcopy(pod)
    answered = strategy.deleted(resource("", "pods"), pod)
    assert answered["metadata"]["deletionGracePeriodSeconds"] == 0
    assert answered["metadata"]["deletionTimestamp"]
    assert answered["metadata"]["generation"] == 2
    assert pod == before
    again = strategy.deleted(resource("", "pods"), {**answered, "metadata": {**answered["metadata"], "deletionGracePeriodSeconds": 30}})
    assert again["metadata"] == answered["metadata"]
    claim = created("claim")
    assert strategy.deleted(resource("", "persistentvolumeclaims"), claim) is claim


def test_a_pod_as_a_whole_asks_for_what_its_containers_do_once_admission_has_added_all_of_them():
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}
    pod["spec"]["resources"] = {"limits": {"memory": "1Gi"}}
    pods = resource("", "pods")
    defaults.apply(pods, pod)
    assert pod["spec"]["resources"] == {"limits": {"memory": "1Gi"}}
    pod["spec"]["containers"].append({**container, "name": "added"})
    strategy.prepare_create(pods, pod)
    assert pod["spec"]["resources"] == {"limits": {"memory": "1Gi"}, "requests": {"cpu": "2", "memory": "1Gi"}}
