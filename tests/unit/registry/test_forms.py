"""Kinds that two APIs serve: what is kept and what is shown, there and back."""

import json

import pytest

from moorings_core.ports.objects import Resource
from moorings_core.registry import forms
from moorings_core.registry.forms import autoscalers, events

from .module_cache import module


def example(name):
    return json.loads((module("k8s.io/api@v0.37.2") / f"testdata/HEAD/{name}.json").read_text())


def test_an_event_has_the_same_fields_in_both_apis_by_other_names():
    old, new = example("core.v1.Event"), example("events.k8s.io.v1.Event")
    shown = events.from_core(old)
    assert shown["regarding"] == old["involvedObject"] and shown["note"] == old["message"]
    assert shown["deprecatedCount"] == old["count"] and shown["reportingController"] == old["reportingComponent"]
    assert shown.keys() == new.keys()
    assert events.to_core(shown) == old and events.from_core(events.to_core(new)) == new


def test_an_event_of_the_new_api_is_kept_without_what_it_does_not_say_and_with_what_go_writes():
    new = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "hello", "reason": "R"}
    kept = forms.kept(new)
    assert kept["apiVersion"] == "v1" and kept["message"] == "hello"
    assert (kept["source"], kept["firstTimestamp"], kept["reportingComponent"]) == ({}, None, "")
    assert "count" not in kept and "note" not in kept
    assert forms.shown(events.NEW, kept)["note"] == "hello"


def test_what_is_in_the_wanted_form_is_not_copied():
    old = example("core.v1.Event")
    assert forms.kept(old) is old and forms.shown(events.CORE, old) is old
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}}
    assert forms.kept(pod) is pod


def scaler(**spec):
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, **spec},
    }


def cpu(percentage):
    return {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percentage}}}


METRICS = {
    "pods": {"metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "5"}},
    "object": {
        "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
        "metric": {"name": "m"},
        "target": {"type": "Value", "value": "7"},
    },
    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50}},
    "external": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}},
}


@pytest.mark.parametrize("source", METRICS)
def test_a_metric_that_version_1_does_not_know_is_an_annotation_there_and_back(source):
    metric = {"type": source[0].upper() + source[1:], source: METRICS[source]}
    old = autoscalers.from_second(scaler(metrics=[metric, cpu(70)]))
    assert old["spec"]["targetCPUUtilizationPercentage"] == 70 and "metrics" not in old["spec"]
    assert list(old["metadata"]["annotations"]) == [autoscalers.METRICS]
    back = autoscalers.to_second(old)
    assert back["spec"]["metrics"] == [metric, cpu(70)] and "annotations" not in back["metadata"]


def test_how_an_object_s_metric_stands_in_the_annotation():
    old = autoscalers.from_second(scaler(metrics=[{"type": "Object", "object": METRICS["object"]}]))
    assert old["metadata"]["annotations"][autoscalers.METRICS] == (
        '[{"type":"Object","object":{"target":{"kind":"Service","name":"s","apiVersion":"v1"},"metricName":"m","targetValue":"7"}}]'
    )


def test_a_version_1_autoscaler_without_a_metric_wants_four_fifths_of_cpu():
    old = {**scaler(), "apiVersion": "autoscaling/v1"}
    assert forms.kept(old)["spec"]["metrics"] == [cpu(80)]
    assert forms.shown(autoscalers.FIRST, forms.kept(old))["spec"]["targetCPUUtilizationPercentage"] == 80


def test_behavior_and_conditions_are_annotations_too():
    rules = {"stabilizationWindowSeconds": 5, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}
    given = scaler(metrics=[cpu(80)], behavior={"scaleUp": rules})
    condition = {"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "R"}
    given["status"] = {"desiredReplicas": 2, "currentReplicas": 1, "conditions": [condition]}
    old = autoscalers.from_second(given)
    assert json.loads(old["metadata"]["annotations"][autoscalers.BEHAVIOR])["ScaleUp"]["StabilizationWindowSeconds"] == 5
    back = autoscalers.to_second(old)
    assert back["spec"]["behavior"] == {"scaleUp": rules}
    assert back["status"]["conditions"] == [condition]


@pytest.mark.parametrize("text", ["no JSON", "3", '{"a": 1}', "[3]"])
def test_an_annotation_that_is_none_of_the_kind_stands_for_nothing(text):
    old = {**scaler(), "apiVersion": "autoscaling/v1", "metadata": {"name": "h", "annotations": {autoscalers.METRICS: text, "a": "b"}}}
    kept = forms.kept(old)
    assert kept["spec"]["metrics"] == [cpu(80)] and kept["metadata"]["annotations"] == {"a": "b"}


def test_resources_that_share_their_objects_have_one_place():
    assert forms.place("events.k8s.io", "events") == ("", "events")
    assert forms.place("apps", "deployments") == ("apps", "deployments")
    assert forms.is_shared(events.NEW) and forms.is_shared(events.CORE) and forms.is_shared(autoscalers.SECOND)
    assert not forms.is_shared(Resource("", "v1", "pods", "Pod", True))
