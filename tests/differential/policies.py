"""Validating and mutating admission policies: what is wrong with them, and what they say of writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .admission import Spec, home, make
from .cases import Case, obj, path
from .peers import Request
from .webhooks import REGISTRATION, RULE

POLICY_RULE: Spec = {**RULE, "operations": ["CREATE", "UPDATE"]}


def policies() -> Iterator[Case]:
    """Validating and mutating policies: what is wrong with them, and what they say of ConfigMaps."""
    ns = "adm-policies"
    yield home(ns, {"policies": "yes"})

    def validating(name: str, *validations: Spec, dry: bool = False, **spec: Any) -> Request:
        full = {"matchConstraints": {"resourceRules": [POLICY_RULE]}, "validations": list(validations), **spec}
        where = path(REGISTRATION, "validatingadmissionpolicies", "", "") + ("?dryRun=All" if dry else "")
        return Request("POST", where, obj(REGISTRATION, "ValidatingAdmissionPolicy", name, spec=full))

    def mutating(name: str, *mutations: Spec, dry: bool = False, **spec: Any) -> Request:
        full = {"matchConstraints": {"resourceRules": [POLICY_RULE]}, "mutations": list(mutations), "reinvocationPolicy": "Never", **spec}
        where = path(REGISTRATION, "mutatingadmissionpolicies", "", "") + ("?dryRun=All" if dry else "")
        return Request("POST", where, obj(REGISTRATION, "MutatingAdmissionPolicy", name, spec=full))

    def bind(name: str, kind: str = "Validating", dry: bool = False, **spec: Any) -> Request:
        resources = {"namespaceSelector": {"matchLabels": {"policies": "yes"}}}
        actions = {"validationActions": ["Deny"]} if kind == "Validating" else {}
        full = {"policyName": name, "matchResources": resources, **actions, **spec}
        where = path(REGISTRATION, f"{kind.lower()}admissionpolicybindings", "", "") + ("?dryRun=All" if dry else "")
        return Request("POST", where, obj(REGISTRATION, f"{kind}AdmissionPolicyBinding", name, spec=full))

    yes, no = {"expression": "true"}, {"expression": "false"}
    remove = _json("[JSONPatch{op: 'remove', path: '/a'}]")
    yield "admission: a policy's defaults", [validating("adm-d", yes, dry=True), mutating("adm-d", remove, dry=True)]
    yield "admission: a binding's defaults", [bind("adm-d", dry=True), bind("adm-d", "Mutating", dry=True)]
    several = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": ["a", "a", "a/b"]}]}, "failurePolicy": "Maybe"}
    wrong = {
        "nothing to validate": {},
        "no rules": {"validations": [yes], "matchConstraints": {}},
        "no constraints": {"validations": [yes], "matchConstraints": None},
        "several mistakes": {"validations": [{"expression": "", "message": " ", "reason": "Because"}], **several},
        "a message of two lines": {"validations": [{"expression": "true", "message": "a\nb"}]},
        "no bool": {"validations": [{"expression": "1"}]},
        "a message that is no text": {"validations": [{"expression": "true", "messageExpression": "1"}]},
        "a kind of parameter": {"validations": [yes], "paramKind": {"apiVersion": "a/b/c", "kind": "A b"}},
        "variables": {"validations": [yes], "variables": [{"name": "a-b", "expression": "1"}, {"name": "", "expression": ""}]},
        "annotations": {"auditAnnotations": [{"key": "a b", "valueExpression": ""}, {"key": "a", "valueExpression": "1"}]},
    }
    for what, spec in wrong.items():
        yield f"admission: a policy with {what}", [validating("adm-w", dry=True, **spec)]
    mutations = {
        "nothing to do": [],
        "no type": [{}],
        "another type": [{"patchType": "Merge"}],
        "no patch": [{"patchType": "JSONPatch"}, {"patchType": "ApplyConfiguration"}],
        "both": [{**remove, "applyConfiguration": {"expression": "Object{}"}}],
    }
    for what, given in mutations.items():
        yield f"admission: mutations with {what}", [mutating("adm-w", *given, dry=True)]
    deletions = {"matchConstraints": {"resourceRules": [{**RULE, "operations": ["DELETE"]}]}, "reinvocationPolicy": "Twice"}
    yield "admission: a mutation of deletions", [mutating("adm-w", _apply("Object{}"), dry=True, **deletions)]
    yield "admission: wrong bindings", [
        bind("", dry=True),
        bind("adm", dry=True, validationActions=[]),
        bind("adm", dry=True, validationActions=["Deny", "Warn", "Deny", "Tell"]),
        bind("adm", dry=True, paramRef={}),
        bind("adm", dry=True, paramRef={"name": "a", "selector": {}, "parameterNotFoundAction": "Wait"}),
    ]  # fmt: skip

    checks: list[Case] = []

    def enforced(what: str, *validations: Spec, binding: Spec | None = None, name: str = "", **spec: Any) -> Case:
        """Make a policy about one ConfigMap, which is created when all policies are in force."""
        policy = f"adm-{what.replace(' ', '-').replace(',', '')}"
        rules = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": [policy]}]}}
        checks.append((f"admission: a policy is enforced: {what}", [make(ns, "v1", "ConfigMap", "configmaps", policy, data={"a": "b"})]))
        return f"admission: policy {policy}", [validating(policy, *validations, **{**rules, **spec}), bind(policy, **(binding or {}))]

    def changed(what: str, *mutations: Spec, **spec: Any) -> Case:
        policy = f"adm-{what.replace(' ', '-').replace(',', '')}"
        rules = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": [policy]}]}}
        checks.append((f"admission: a policy changes: {what}", [make(ns, "v1", "ConfigMap", "configmaps", policy, data={"a": "b"})]))
        return f"admission: policy {policy}", [mutating(policy, *mutations, **{**rules, **spec}), bind(policy, "Mutating")]

    composed = [{"name": "b", "expression": "object.data.a"}, {"name": "c", "expression": "variables.b + 'x'"}]
    broken = [{"name": "b", "expression": "object.data.nothing"}]
    request = " && ".join([
        "request.userInfo.username == 'admin'", "request.namespace == 'adm-policies'", "request.resource.resource == 'configmaps'",
        "namespaceObject.metadata.labels.policies == 'yes'", "oldObject == null", "!request.dryRun", "request.operation == 'CREATE'",
    ])  # fmt: skip
    authorizer = (
        "authorizer.group('').resource('pods').namespace('a').check('get').allowed() && authorizer.path('/x').check('get').allowed()"
    )
    nobody = "!authorizer.serviceAccount('a', 'b').group('').resource('pods').check('get').allowed()"
    mine = "authorizer.requestResource.check('delete').allowed()"
    functions = " && ".join([
        "quantity('1Gi').isGreaterThan(quantity('1M'))", "url('https://a/b').getHost() == 'a'", "'abc'.matches('^a')",
        "[1, 2].sum() == 3", "ip('::1').family() == 6", "'a,b'.split(',').size() == 2", "[3, 1].isSorted() == false",
    ])  # fmt: skip
    named = [{**POLICY_RULE, "resourceNames": ["another"]}]
    cases: dict[str, tuple[list[Spec], Spec]] = {
        "an expression": ([yes, {"expression": "object.data.a == 'c'"}], {}),
        "a message": ([{**no, "message": "why not"}], {}),
        "a message by expression": ([{**no, "message": "x", "messageExpression": "'no ' + string(object.metadata.name)"}], {}),
        "a message that has no value": ([{**no, "message": "x", "messageExpression": "string(object.nothing.at.all)"}], {}),
        "a reason": ([{**no, "reason": "Forbidden"}], {}),
        "variables": ([{"expression": "variables.c == 'bb'"}], {"variables": composed}),
        "variables without a value": ([{"expression": "variables.b == 'bb'"}], {"variables": broken}),
        "an expression without a value": ([{"expression": "object.data.z == 'c'"}], {}),
        "an expression without a value, open": ([{"expression": "object.data.z == 'c'"}], {"failurePolicy": "Ignore"}),
        "a condition": ([no], {"matchConditions": [_condition("c", "request.operation == 'UPDATE'")]}),
        "a condition without a value": ([no], {"matchConditions": [_condition("c", "object.data.z == 'a'")]}),
        "the request": ([{"expression": request}], {}),
        "the authorizer": ([{"expression": authorizer}], {}),
        "the authorizer about others": ([{"expression": f"{nobody} && {mine}"}], {}),
        "functions": ([{"expression": functions}], {}),
        "a name": ([no], {"matchConstraints": {"resourceRules": named}}),
        "an annotation": ([], {"auditAnnotations": [{"key": "k", "valueExpression": "'a' + string(object.data.a)"}]}),
    }
    for what, (validations, spec) in cases.items():
        yield enforced(what, *validations, **spec)
    yield enforced("a warning", {**no, "message": "mind"}, binding={"validationActions": ["Warn", "Audit"]})
    param = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}
    limit = {"expression": "object.data.a == params.data.wanted", "messageExpression": "'wanted ' + string(params.data.wanted)"}
    limits = obj("v1", "ConfigMap", "limits", data={"wanted": "z"})
    limits["metadata"]["labels"] = {"limits": "yes"}
    yield "admission: a parameter is made", [Request("POST", path("v1", "configmaps", "", ns), limits)]
    for what, reference in {
        "a parameter": {"name": "limits", "parameterNotFoundAction": "Deny"},
        "a parameter elsewhere": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"},
        "a missing parameter": {"name": "absent", "parameterNotFoundAction": "Deny"},
        "a missing parameter, allowed": {"name": "absent", "parameterNotFoundAction": "Allow"},
        "parameters by labels": {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Deny"},
    }.items():
        yield enforced(what, limit, binding={"paramRef": reference}, **param)
    reference = {"paramRef": {"name": "a", "parameterNotFoundAction": "Deny"}}
    yield enforced("an unknown parameter", limit, binding=reference, paramKind={"apiVersion": "no.example/v1", "kind": "None"})
    add = "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('x'), value: string(object.data.a) + 'c'}]"
    labels = "[JSONPatch{op: 'test', path: '/data/a', value: 'b'}, JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}]"
    yield changed("a patch", _json(add))
    yield changed("two patches", _json(add), _json(labels))
    yield changed("a patch that does not fit", _json("[JSONPatch{op: 'remove', path: '/data/nothing'}]"))
    whole = "Object{metadata: Object.metadata{labels: {'a': string(object.data.a)}}, data: {'n': 'm'}}"
    yield changed("a configuration", _apply(whole))
    nothing = _apply("Object{data: {'n': string(object.data.nothing)}}")
    yield changed("a mutation without a value", nothing)
    yield changed("a mutation without a value, open", nothing, failurePolicy="Ignore")
    sentinel = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": ["adm-sentinel"]}]}}
    waiting = Request(
        "POST", path("v1", "configmaps", "", ns) + "?dryRun=All", obj("v1", "ConfigMap", "adm-sentinel"), until="denied request"
    )
    changing = Request(
        "POST", path("v1", "configmaps", "", ns) + "?dryRun=All", obj("v1", "ConfigMap", "adm-mutated"), until="denied request"
    )
    unfit = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": ["adm-mutated"]}]}}
    yield "admission: policies are in force", [
        validating("adm-sentinel", no, **sentinel),
        bind("adm-sentinel"),
        mutating("adm-mutated", nothing, **unfit),
        bind("adm-mutated", "Mutating"),
        waiting,
        changing,
    ]  # fmt: skip
    yield from checks


def _condition(name: str, expression: str) -> Spec:
    return {"name": name, "expression": expression}


def _json(expression: str) -> Spec:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def _apply(expression: str) -> Spec:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
