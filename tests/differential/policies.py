"""Validating and mutating admission policies: what is wrong with them, and what they say of writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .admission import Spec, home, make
from .cases import Case, obj, path
from .peers import Request
from .webhooks import REGISTRATION, RULE

NS = "adm-policies"
YES, NO = {"expression": "true"}, {"expression": "false"}
POLICY_RULE: Spec = {**RULE, "operations": ["CREATE", "UPDATE"]}


def policies() -> Iterator[Case]:
    """Validating and mutating policies: what is wrong with them, and what they say of ConfigMaps."""
    made = Policies()
    yield home(NS, {"policies": "yes"})
    yield from _mistakes()
    yield from _enforced(made)
    yield from _with_parameters(made)
    yield from _changed(made)
    yield from _in_force()
    yield from made.checks


def _validating(name: str, *validations: Spec, dry: bool = False, **spec: Any) -> Request:
    full = {"matchConstraints": {"resourceRules": [POLICY_RULE]}, "validations": list(validations), **spec}
    where = path(REGISTRATION, "validatingadmissionpolicies", "", "") + ("?dryRun=All" if dry else "")
    return Request("POST", where, obj(REGISTRATION, "ValidatingAdmissionPolicy", name, spec=full))


def _mutating(name: str, *mutations: Spec, dry: bool = False, **spec: Any) -> Request:
    full = {"matchConstraints": {"resourceRules": [POLICY_RULE]}, "mutations": list(mutations), "reinvocationPolicy": "Never", **spec}
    where = path(REGISTRATION, "mutatingadmissionpolicies", "", "") + ("?dryRun=All" if dry else "")
    return Request("POST", where, obj(REGISTRATION, "MutatingAdmissionPolicy", name, spec=full))


def _bind(name: str, kind: str = "Validating", dry: bool = False, **spec: Any) -> Request:
    resources = {"namespaceSelector": {"matchLabels": {"policies": "yes"}}}
    actions = {"validationActions": ["Deny"]} if kind == "Validating" else {}
    full = {"policyName": name, "matchResources": resources, **actions, **spec}
    where = path(REGISTRATION, f"{kind.lower()}admissionpolicybindings", "", "") + ("?dryRun=All" if dry else "")
    return Request("POST", where, obj(REGISTRATION, f"{kind}AdmissionPolicyBinding", name, spec=full))


class Policies:
    """Policies about one ConfigMap each, and those ConfigMaps, which are created when all policies are in force."""

    def __init__(self) -> None:
        self.checks: list[Case] = []

    def enforced(self, what: str, *validations: Spec, binding: Spec | None = None, **spec: Any) -> Case:
        """Make a policy that judges one ConfigMap."""
        policy, rules = self._about_one(what, "is enforced")
        return f"admission: policy {policy}", [_validating(policy, *validations, **{**rules, **spec}), _bind(policy, **(binding or {}))]

    def changed(self, what: str, *mutations: Spec, **spec: Any) -> Case:
        """Make a policy that changes one ConfigMap."""
        policy, rules = self._about_one(what, "changes")
        return f"admission: policy {policy}", [_mutating(policy, *mutations, **{**rules, **spec}), _bind(policy, "Mutating")]

    def _about_one(self, what: str, does: str) -> tuple[str, Spec]:
        """Return the name of a policy, which is that of its ConfigMap, too, and what makes it about that one alone."""
        policy = f"adm-{what.replace(' ', '-').replace(',', '')}"
        made = make(NS, "v1", "ConfigMap", "configmaps", policy, data={"a": "b"})
        self.checks.append((f"admission: a policy {does}: {what}", [made]))
        return policy, {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": [policy]}]}}


def _mistakes() -> Iterator[Case]:
    """What is wrong with policies, and their defaults."""
    remove = _json("[JSONPatch{op: 'remove', path: '/a'}]")
    yield "admission: a policy's defaults", [_validating("adm-d", YES, dry=True), _mutating("adm-d", remove, dry=True)]
    yield "admission: a binding's defaults", [_bind("adm-d", dry=True), _bind("adm-d", "Mutating", dry=True)]
    several = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": ["a", "a", "a/b"]}]}, "failurePolicy": "Maybe"}
    wrong = {
        "nothing to validate": {},
        "no rules": {"validations": [YES], "matchConstraints": {}},
        "no constraints": {"validations": [YES], "matchConstraints": None},
        "several mistakes": {"validations": [{"expression": "", "message": " ", "reason": "Because"}], **several},
        "a message of two lines": {"validations": [{"expression": "true", "message": "a\nb"}]},
        "no bool": {"validations": [{"expression": "1"}]},
        "a message that is no text": {"validations": [{"expression": "true", "messageExpression": "1"}]},
        "a kind of parameter": {"validations": [YES], "paramKind": {"apiVersion": "a/b/c", "kind": "A b"}},
        "variables": {"validations": [YES], "variables": [{"name": "a-b", "expression": "1"}, {"name": "", "expression": ""}]},
        "annotations": {"auditAnnotations": [{"key": "a b", "valueExpression": ""}, {"key": "a", "valueExpression": "1"}]},
    }
    for what, spec in wrong.items():
        yield f"admission: a policy with {what}", [_validating("adm-w", dry=True, **spec)]
    yield from _mistakes_of_mutations()


def _mistakes_of_mutations() -> Iterator[Case]:
    """What is wrong with mutations and bindings."""
    remove = _json("[JSONPatch{op: 'remove', path: '/a'}]")
    mutations = {
        "nothing to do": [],
        "no type": [{}],
        "another type": [{"patchType": "Merge"}],
        "no patch": [{"patchType": "JSONPatch"}, {"patchType": "ApplyConfiguration"}],
        "both": [{**remove, "applyConfiguration": {"expression": "Object{}"}}],
    }
    for what, given in mutations.items():
        yield f"admission: mutations with {what}", [_mutating("adm-w", *given, dry=True)]
    deletions = {"matchConstraints": {"resourceRules": [{**RULE, "operations": ["DELETE"]}]}, "reinvocationPolicy": "Twice"}
    yield "admission: a mutation of deletions", [_mutating("adm-w", _apply("Object{}"), dry=True, **deletions)]
    yield "admission: wrong bindings", [
        _bind("", dry=True),
        _bind("adm", dry=True, validationActions=[]),
        _bind("adm", dry=True, validationActions=["Deny", "Warn", "Deny", "Tell"]),
        _bind("adm", dry=True, paramRef={}),
        _bind("adm", dry=True, paramRef={"name": "a", "selector": {}, "parameterNotFoundAction": "Wait"}),
    ]  # fmt: skip


def _enforced(made: Policies) -> Iterator[Case]:
    """Expressions, messages, variables, conditions."""
    for what, (validations, spec) in ENFORCED.items():
        yield made.enforced(what, *validations, **spec)
    yield made.enforced("a warning", {**NO, "message": "mind"}, binding={"validationActions": ["Warn", "Audit"]})


def _with_parameters(made: Policies) -> Iterator[Case]:
    """Policies that look at a parameter."""
    param = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}
    limit = {"expression": "object.data.a == params.data.wanted", "messageExpression": "'wanted ' + string(params.data.wanted)"}
    limits = obj("v1", "ConfigMap", "limits", data={"wanted": "z"})
    limits["metadata"]["labels"] = {"limits": "yes"}
    yield "admission: a parameter is made", [Request("POST", path("v1", "configmaps", "", NS), limits)]
    for what, reference in {
        "a parameter": {"name": "limits", "parameterNotFoundAction": "Deny"},
        "a parameter elsewhere": {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"},
        "a missing parameter": {"name": "absent", "parameterNotFoundAction": "Deny"},
        "a missing parameter, allowed": {"name": "absent", "parameterNotFoundAction": "Allow"},
        "parameters by labels": {"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Deny"},
    }.items():
        yield made.enforced(what, limit, binding={"paramRef": reference}, **param)
    reference = {"paramRef": {"name": "a", "parameterNotFoundAction": "Deny"}}
    yield made.enforced("an unknown parameter", limit, binding=reference, paramKind={"apiVersion": "no.example/v1", "kind": "None"})


def _changed(made: Policies) -> Iterator[Case]:
    """Policies that change what is written."""
    add = "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('x'), value: string(object.data.a) + 'c'}]"
    labels = "[JSONPatch{op: 'test', path: '/data/a', value: 'b'}, JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 'b'}}]"
    yield made.changed("a patch", _json(add))
    yield made.changed("two patches", _json(add), _json(labels))
    yield made.changed("a patch that does not fit", _json("[JSONPatch{op: 'remove', path: '/data/nothing'}]"))
    whole = "Object{metadata: Object.metadata{labels: {'a': string(object.data.a)}}, data: {'n': 'm'}}"
    yield made.changed("a configuration", _apply(whole))
    nothing = _apply("Object{data: {'n': string(object.data.nothing)}}")
    yield made.changed("a mutation without a value", nothing)
    yield made.changed("a mutation without a value, open", nothing, failurePolicy="Ignore")


def _in_force() -> Iterator[Case]:
    """Wait until all policies are."""
    nothing = _apply("Object{data: {'n': string(object.data.nothing)}}")
    sentinel = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": ["adm-sentinel"]}]}}
    waiting = Request(
        "POST", path("v1", "configmaps", "", NS) + "?dryRun=All", obj("v1", "ConfigMap", "adm-sentinel"), until="denied request"
    )
    changing = Request(
        "POST", path("v1", "configmaps", "", NS) + "?dryRun=All", obj("v1", "ConfigMap", "adm-mutated"), until="denied request"
    )
    unfit = {"matchConstraints": {"resourceRules": [{**POLICY_RULE, "resourceNames": ["adm-mutated"]}]}}
    yield "admission: policies are in force", [
        _validating("adm-sentinel", NO, **sentinel),
        _bind("adm-sentinel"),
        _mutating("adm-mutated", nothing, **unfit),
        _bind("adm-mutated", "Mutating"),
        waiting,
        changing,
    ]  # fmt: skip


def _condition(name: str, expression: str) -> Spec:
    return {"name": name, "expression": expression}


def _json(expression: str) -> Spec:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def _apply(expression: str) -> Spec:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


COMPOSED = [{"name": "b", "expression": "object.data.a"}, {"name": "c", "expression": "variables.b + 'x'"}]
ASKING = [{"name": name, "expression": "authorizer.path('/x').check('get').allowed()"} for name in "bc"]
BROKEN = [{"name": "b", "expression": "object.data.nothing"}]
REQUEST = " && ".join([
    "request.userInfo.username == 'admin'", "request.namespace == 'adm-policies'", "request.resource.resource == 'configmaps'",
    "namespaceObject.metadata.labels.policies == 'yes'", "oldObject == null", "!request.dryRun", "request.operation == 'CREATE'",
])  # fmt: skip
AUTHORIZER = "authorizer.group('').resource('pods').namespace('a').check('get').allowed() && authorizer.path('/x').check('get').allowed()"
NOBODY = "!authorizer.serviceAccount('a', 'b').group('').resource('pods').check('get').allowed()"
MINE = "authorizer.requestResource.check('delete').allowed()"
FUNCTIONS = " && ".join([
    "quantity('1Gi').isGreaterThan(quantity('1M'))", "url('https://a/b').getHost() == 'a'", "'abc'.matches('^a')",
    "[1, 2].sum() == 3", "ip('::1').family() == 6", "'a,b'.split(',').size() == 2", "[3, 1].isSorted() == false",
])  # fmt: skip
ONCE = "authorizer.path('/x').check('get').allowed()"
TWICE, THRICE = (" && ".join([ONCE] * count) for count in (2, 3))
NAMED = [{**POLICY_RULE, "resourceNames": ["another"]}]
ENFORCED: dict[str, tuple[list[Spec], Spec]] = {
    "an expression": ([YES, {"expression": "object.data.a == 'c'"}], {}),
    "a message": ([{**NO, "message": "why not"}], {}),
    "a message by expression": ([{**NO, "message": "x", "messageExpression": "'no ' + string(object.metadata.name)"}], {}),
    "a message that has no value": ([{**NO, "message": "x", "messageExpression": "string(object.nothing.at.all)"}], {}),
    "a reason": ([{**NO, "reason": "Forbidden"}], {}),
    "variables": ([{"expression": "variables.c == 'bb'"}], {"variables": COMPOSED}),
    "variables without a value": ([{"expression": "variables.b == 'bb'"}], {"variables": BROKEN}),
    "an expression without a value": ([{"expression": "object.data.z == 'c'"}], {}),
    "an expression without a value, open": ([{"expression": "object.data.z == 'c'"}], {"failurePolicy": "Ignore"}),
    "a condition": ([NO], {"matchConditions": [_condition("c", "request.operation == 'UPDATE'")]}),
    "a condition without a value": ([NO], {"matchConditions": [_condition("c", "object.data.z == 'a'")]}),
    "the request": ([{"expression": REQUEST}], {}),
    "the authorizer": ([{"expression": AUTHORIZER}], {}),
    "the authorizer about others": ([{"expression": f"{NOBODY} && {MINE}"}], {}),
    "two questions": ([{"expression": TWICE}], {}),
    "three questions": ([{"expression": THRICE}], {}),
    "three questions, open": ([{"expression": THRICE}], {"failurePolicy": "Ignore"}),
    "three questions of which none decides": ([{"expression": f"true || ({THRICE})"}], {}),
    "three questions that can be left out": ([{"expression": f"({THRICE}) || true"}], {}),
    "many rules with questions": ([{"expression": TWICE}] * 14, {}),
    "too many rules with questions": ([{"expression": TWICE}] * 15, {}),
    "too many questions after a refusal": ([NO, *[{"expression": TWICE}] * 15], {}),
    "too many questions, open": ([{"expression": TWICE}] * 15, {"failurePolicy": "Ignore"}),
    "conditions with questions": ([NO], {"matchConditions": [_condition(f"c{i}", TWICE) for i in range(3)]}),
    "conditions with too many questions": ([NO], {"matchConditions": [_condition(f"c{i}", TWICE) for i in range(4)]}),
    "variables with questions": ([{"expression": "variables.b && variables.c"}], {"variables": ASKING}),
    "functions": ([{"expression": FUNCTIONS}], {}),
    "a name": ([NO], {"matchConstraints": {"resourceRules": NAMED}}),
    "an annotation": ([], {"auditAnnotations": [{"key": "k", "valueExpression": "'a' + string(object.data.a)"}]}),
}
