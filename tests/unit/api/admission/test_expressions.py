"""Literals of mutations as maps, and webhooks' places and answers: the pure parts of policies and webhooks."""

from __future__ import annotations

import base64
import json

import pytest

from moorings_core.api.admission.matching import Equivalents, rule_fits
from moorings_core.api.admission.webhooks.caller import place_of
from moorings_core.api.admission.webhooks.review import CallFailed, refusal, understand
from moorings_core.cel.literals import as_maps
from moorings_core.client.resources import DEPLOYMENTS, EVENTS, NAMESPACES, PODS
from moorings_core.ports.objects import Key, Resource
from moorings_core.registry.kinds import built_in

V1 = "admission.k8s.io/v1"


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("Object{}", "{}"),
        ("Object{spec: Object.spec{replicas: 1}}", '{"spec": {"replicas": 1}}'),
        ("[JSONPatch{op: 'add', path: '/a', value: {'b': c}}]", "[{\"op\": 'add', \"path\": '/a', \"value\": {'b': c}}]"),
        ("has(object.a) ? Object{a: x ? y : z} : Object{}", 'has(object.a) ? {"a": x ? y : z} : {}'),
        ("Object{metadata: Object.metadata{labels: {'Object{': 'x: y'}}}", "{\"metadata\": {\"labels\": {'Object{': 'x: y'}}}"),
        ("object.Object.x", "object.Object.x"),
        ("Object{ a : 1, __namespace__: 2, b__dash__c: 3 }", '{ "a" : 1, "namespace": 2, "b-c": 3 }'),
        ("{a: 1}", "{a: 1}"),
    ],
)
def test_objects_and_patches_are_maps(expression, written):
    assert as_maps(expression) == written


def rule(**fields):
    return {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], **fields}


@pytest.mark.parametrize(
    ("given", "operation", "resource", "subresource", "fits"),
    [
        (rule(), "CREATE", PODS, "", True),
        (rule(), "UPDATE", PODS, "", False),
        (rule(), "CREATE", PODS, "status", False),
        (rule(resources=["pods/*"]), "CREATE", PODS, "", True),
        (rule(resources=["pods/*"]), "CREATE", PODS, "exec", True),
        (rule(resources=["*"]), "CREATE", PODS, "exec", False),
        (rule(resources=["*/exec"]), "CREATE", PODS, "exec", True),
        (rule(apiGroups=["*"], apiVersions=["*"], resources=["*"]), "CREATE", DEPLOYMENTS, "", True),
        (rule(resources=["*"], scope="Cluster"), "CREATE", PODS, "", False),
        (rule(resources=["*"], scope="Cluster"), "CREATE", NAMESPACES, "", True),
        (rule(resources=["*"], scope="Namespaced"), "CREATE", NAMESPACES, "", False),
    ],
)
def test_what_a_rule_names(given, operation, resource, subresource, fits):
    assert rule_fits(given, operation, resource, subresource) is fits


def test_resources_that_are_one_under_several_names():
    equivalents = Equivalents(built_in())
    scalers = Resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True)
    assert [r.version for r in equivalents.of(scalers)] == ["v2"]
    assert [r.group for r in equivalents.of(EVENTS)] == ["events.k8s.io"]
    assert equivalents.of(PODS) == []


def test_where_a_webhook_listens():
    assert place_of({"url": "https://a.example/b"}).url == "https://a.example/b"
    service = place_of({"service": {"name": "s", "namespace": "n", "path": "/p"}})
    assert (service.host, service.port, service.service, service.url) == ("s.n.svc", 443, Key("n", "s"), "https://s.n.svc:443/p")
    with pytest.raises(CallFailed, match="must have either service or URL"):
        place_of({})


def answer(version=V1, **response):
    return json.dumps({"apiVersion": version, "kind": "AdmissionReview", "response": {"uid": "u", "allowed": True, **response}}).encode()


PATCH = base64.b64encode(b'[{"op":"remove","path":"/a"}]').decode()


@pytest.mark.parametrize(
    ("body", "mutating", "problem"),
    [
        (answer(), False, ""),
        (answer(patch=PATCH, patchType="JSONPatch"), True, ""),
        (answer(patch=PATCH), True, "webhook returned response.patch but not response.patchType"),
        (answer(patchType="JSONPatch"), True, "webhook returned response.patchType but not response.patch"),
        (answer(patch=PATCH, patchType="JSONPatch"), False, "validating webhook may not return response.patch"),
        (answer(patch="!", patchType="JSONPatch"), True, "received undecodable patch"),
        (answer(patch=PATCH, patchType="Other"), True, "unsupported patch type"),
        (answer(uid="other"), False, 'expected response.uid="u", got "other"'),
        (answer(version="v2"), False, "expected webhook response of admission.k8s.io/v1"),
        (b"{}", False, "webhook response was absent"),
        (b"[]", False, "webhook response was absent"),
        (b"x", False, "failed to call webhook"),
    ],
)
def test_what_webhooks_may_answer(body, mutating, problem):
    if problem:
        with pytest.raises(CallFailed) as failed:
            understand(body, "u", V1, mutating=mutating)
        assert problem in str(failed.value)
    else:
        assert understand(body, "u", V1, mutating=mutating).allowed


@pytest.mark.parametrize(
    ("result", "code", "reason", "message"),
    [
        (None, 400, "", "denied the request without explanation"),
        ({"message": "no"}, 400, "", "denied the request: no"),
        ({"reason": "Forbidden"}, 400, "Forbidden", "denied the request: Forbidden"),
        ({"message": "no", "code": 200}, 400, "", "denied the request: no"),
        ({"message": "no", "code": 409, "reason": "Conflict"}, 409, "Conflict", "denied the request: no"),
    ],
)
def test_a_refusal_is_always_an_error(result, code, reason, message):
    error = refusal("w", result)
    assert (error.code, error.reason, error.message) == (code, reason, f'admission webhook "w" {message}')
