"""Webhook configurations and admission policies: what is wrong with them, and what they make of writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .admission import Spec, home, make
from .cases import Case, obj, path
from .peers import Request

REGISTRATION = "admissionregistration.k8s.io/v1"
RULE: Spec = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
NOWHERE: Spec = {"url": "https://127.0.0.1:1/x"}


def webhooks() -> Iterator[Case]:
    """Webhook configurations, what is wrong with them, and what webhooks that nobody answers for mean."""
    ns = "adm-webhooks"
    yield home(ns, {"webhooks": "yes"})

    def hook(**fields: Any) -> Spec:
        given = {
            "name": "a.example.org",
            "clientConfig": NOWHERE,
            "rules": [RULE],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return {**given, "namespaceSelector": {"matchLabels": {"webhooks": "yes"}}, **fields}

    def register(*hooks: Spec, kind: str = "Validating", name: str = "adm", dry: bool = False) -> Request:
        where = path(REGISTRATION, f"{kind.lower()}webhookconfigurations", "", "") + ("?dryRun=All" if dry else "")
        return Request("POST", where, obj(REGISTRATION, f"{kind}WebhookConfiguration", name, webhooks=list(hooks)))

    def gone(kind: str = "Validating", name: str = "adm") -> Request:
        return Request("DELETE", path(REGISTRATION, f"{kind.lower()}webhookconfigurations", name, ""))

    minimal = {"name": "a.example.org", "clientConfig": {"service": {"name": "s", "namespace": ns}}, "sideEffects": "None"}
    minimal["admissionReviewVersions"] = ["v1", "v1beta1"]
    for kind in ("Mutating", "Validating"):
        yield f"admission: a {kind} webhook's defaults", [register({**minimal, "rules": [RULE]}, kind=kind, dry=True)]
    urls = ("http://a/b", "https://u@a", "https:///b", "https://a#b", "https://a?b=c")
    rule = {"operations": ["*", "GET"], "apiGroups": [], "apiVersions": ["*", ""], "scope": "Some"}
    rule["resources"] = ["*", "pods", "", "pods/*", "pods/log"]
    conditions = [_condition("", " "), _condition("a b", "1"), _condition("c", "true"), _condition("c", "request.name == ''")]
    wrong: dict[str, list[Spec]] = {
        "names": [hook(name="short"), hook(name=""), hook(name="A.b.c"), hook(), hook()],
        "clients": [hook(clientConfig={}), hook(name="b.b.b", clientConfig={**NOWHERE, "service": {"name": "s", "namespace": "n"}})],
        "URLs": [hook(name=f"{n}.b.c", clientConfig={"url": url}) for n, url in zip("defgh", urls, strict=True)],
        "services": [hook(clientConfig={"service": {"name": "", "namespace": "n", "port": 70000, "path": "a//B"}})],
        "versions": [hook(admissionReviewVersions=[]), hook(name="b.b.b", admissionReviewVersions=["v2", "v2", "V"])],
        "policies": [hook(failurePolicy="Maybe", matchPolicy="Like", sideEffects="Some", timeoutSeconds=31)],
        "no side effects": [hook(sideEffects=None, timeoutSeconds=0)],
        "selectors": [hook(objectSelector={"matchExpressions": [{"key": "a b", "operator": "Near"}]})],
        "rules": [hook(rules=[rule, {}])],
        "resources": [hook(rules=[{**RULE, "resources": ["*/*", "pods"]}, {**RULE, "resources": ["*/log", "pods/log"]}])],
        "conditions": [hook(matchConditions=conditions)],
    }
    for what, hooks in wrong.items():
        yield f"admission: webhooks with wrong {what}", [register(*hooks, dry=True)]
    asked = make(ns, "v1", "ConfigMap", "configmaps", "asked")
    other = make("default", "v1", "ConfigMap", "configmaps", "adm-other")
    for kind in ("Mutating", "Validating"):
        yield f"admission: a {kind} webhook that fails closed", [register(hook(), kind=kind), asked, other, gone(kind)]
        let_in = make(ns, "v1", "ConfigMap", "configmaps", f"open-{kind.lower()}")
        yield f"admission: a {kind} webhook that fails open", [register(hook(failurePolicy="Ignore"), kind=kind), let_in, gone(kind)]
    false, error = _condition("f", "object.metadata.name != 'conditional'"), _condition("e", "object.data.nothing == 'x'")
    named, valueless = (make(ns, "v1", "ConfigMap", "configmaps", n, data={"a": "b"}) for n in ("conditional", "valueless"))
    yield "admission: a condition that does not hold", [register(hook(matchConditions=[error, false])), named, gone()]
    yield "admission: a condition without a value", [register(hook(matchConditions=[error])), valueless, gone()]
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    yield "admission: webhooks do not look at themselves", [register(hook(rules=[everything])), gone()]
    yield "admission: a dry run", [register(hook()), make(ns, "v1", "ConfigMap", "configmaps?dryRun=All", "dry"), gone()]


def _condition(name: str, expression: str) -> Spec:
    return {"name": name, "expression": expression}
