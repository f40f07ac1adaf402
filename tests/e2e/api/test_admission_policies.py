"""Admission policies as clients meet them, on a real server: what is said in the cluster holds with the next request."""

from __future__ import annotations

import asyncio
import json

from .raw_client import JSON, Client

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
REGISTRATION = "admissionregistration.k8s.io/v1"
RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}


def policy(kind, name, rule=RULE, **spec):
    if kind == "Mutating":
        spec.setdefault("reinvocationPolicy", "Never")
    spec = {"matchConstraints": {"resourceRules": [rule]}, **spec}
    return {"apiVersion": REGISTRATION, "kind": f"{kind}AdmissionPolicy", "metadata": {"name": name}, "spec": spec}


def binding(kind, name, **spec):
    if kind == "Validating":
        spec.setdefault("validationActions", ["Deny"])
    return {
        "apiVersion": REGISTRATION,
        "kind": f"{kind}AdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, **spec},
    }


def deployment(name, replicas=1, labels=None):
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    metadata = {"name": name, "labels": labels or {}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def test_kubectl_meets_a_limit_with_a_parameter_at_once_and_no_longer_when_it_is_gone(api):
    rule = {"expression": "object.spec.replicas <= int(params.data.most)", "messageExpression": "'at most ' + string(params.data.most)"}
    limit = policy("Validating", "limit", validations=[rule], paramKind={"apiVersion": "v1", "kind": "ConfigMap"})
    reference = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await api.kubectl("create", "configmap", "limits", "--from-literal=most=3")
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(limit))
    await api.kubectl("apply", "-f", "-", stdin=json.dumps(binding("Validating", "limit", paramRef=reference)))
    refused = await api.kubectl("create", "deployment", "web", "--image=i", "--replicas=4", check=False)
    assert "ValidatingAdmissionPolicy 'limit' with binding 'limit' denied request: at most 3" in refused.stderr
    await api.kubectl("create", "deployment", "web", "--image=i", "--replicas=3")
    refused = await api.kubectl("patch", "deployment", "web", "-p", '{"spec":{"replicas":5}}', check=False)
    assert "at most 3" in refused.stderr
    await api.kubectl("patch", "configmap", "limits", "-p", '{"data":{"most":"9"}}')
    await api.kubectl("patch", "deployment", "web", "-p", '{"spec":{"replicas":5}}')
    await api.kubectl("delete", "validatingadmissionpolicybinding", "limit")
    await api.kubectl("patch", "deployment", "web", "-p", '{"spec":{"replicas":50}}')


async def test_a_mutating_policy_fills_in_what_validating_ones_then_see(api):
    async with Client(api) as ask:
        apply = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: [CONTAINER]}}}}"
        apply = apply.replace("CONTAINER", "Object.spec.template.spec.containers{name: 'side', image: 'example/side:1'}")
        mutations = [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": apply}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/spec/replicas', value: 2}]"}},
        ]
        seen = {"expression": "object.spec.template.spec.containers.exists(c, c.name == 'side') && object.spec.replicas == 2"}
        for body in (
            policy("Mutating", "side", mutations=mutations),
            binding("Mutating", "side"),
            policy("Validating", "seen", validations=[seen]),
            binding("Validating", "seen"),
        ):
            plural = {"Policy": "policies", "Binding": "policybindings"}["Binding" if "Binding" in body["kind"] else "Policy"]
            path = f"/apis/{REGISTRATION}/{body['kind'].lower().split('policy')[0]}{plural}"
            code, answer = await ask("POST", path, body)
            assert code == 201, answer
        code, answer = await ask("POST", DEPLOYMENTS, deployment("web"))
        assert code == 201, answer
        assert [c["name"] for c in answer["spec"]["template"]["spec"]["containers"]] == ["c", "side"]
        side = answer["spec"]["template"]["spec"]["containers"][1]
        assert (side["imagePullPolicy"], answer["spec"]["replicas"]) == ("IfNotPresent", 2), "what is put in is defaulted"


async def test_policies_are_told_in_warnings_and_each_other_s_order_is_their_names(api):
    async with Client(api) as ask:
        rule = {**RULE, "apiGroups": [""], "resources": ["configmaps"]}
        for name, action in (("b", "Deny"), ("a", "Warn")):
            validation = {"expression": "false", "message": f"no, says {name}"}
            await ask(
                "POST", f"/apis/{REGISTRATION}/validatingadmissionpolicies", policy("Validating", name, rule, validations=[validation])
            )
            body = binding("Validating", name, validationActions=[action])
            await ask("POST", f"/apis/{REGISTRATION}/validatingadmissionpolicybindings", body)
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}}).encode()
        async with ask.open("POST", MAPS, body, JSON) as answer:
            assert answer.status == 422
            assert "says b" in (await answer.json())["message"]
            assert "says a" in answer.headers["Warning"]


async def test_many_writes_at_once_are_each_looked_at(api):
    async with Client(api) as ask:
        rule = {**RULE, "apiGroups": [""], "resources": ["configmaps"]}
        validation = {"expression": "int(object.metadata.name.substring(1)) % 2 == 0"}
        await ask("POST", f"/apis/{REGISTRATION}/validatingadmissionpolicies", policy("Validating", "even", rule, validations=[validation]))
        await ask("POST", f"/apis/{REGISTRATION}/validatingadmissionpolicybindings", binding("Validating", "even"))
        bodies = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{i}"}} for i in range(64)]
        answers = await asyncio.gather(*(ask("POST", MAPS, body) for body in bodies))
        assert [code for code, _ in answers] == [201, 422] * 32
