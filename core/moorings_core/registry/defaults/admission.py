"""Defaults of webhook configurations and admission policies. Source: upstream's admissionregistration defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moorings_core.ports.objects import Object

GROUP = "admissionregistration.k8s.io"


def _rules(rules: Iterable[Object] | None) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


def _webhooks(obj: Object) -> None:
    for webhook in obj.get("webhooks") or ():
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        webhook.setdefault("timeoutSeconds", 10)
        _rules(webhook.get("rules"))
        service = (webhook.get("clientConfig") or {}).get("service")
        if service:
            service.setdefault("port", 443)


def _mutating_webhooks(obj: Object) -> None:
    _webhooks(obj)
    for webhook in obj.get("webhooks") or ():
        webhook.setdefault("reinvocationPolicy", "Never")


def _match(resources: Object | None) -> None:
    if resources is None:
        return
    resources.setdefault("matchPolicy", "Equivalent")
    resources.setdefault("namespaceSelector", {})
    resources.setdefault("objectSelector", {})
    for field in ("resourceRules", "excludeResourceRules"):
        _rules(resources.get(field))


def _policy(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("failurePolicy", "Fail")
    _match(spec.get("matchConstraints"))


def _binding(obj: Object) -> None:
    _match((obj.get("spec") or {}).get("matchResources"))


RULES: dict[tuple[str, str], Callable[[Object], None]] = {
    (GROUP, "mutatingwebhookconfigurations"): _mutating_webhooks,
    (GROUP, "validatingwebhookconfigurations"): _webhooks,
    (GROUP, "validatingadmissionpolicies"): _policy,
    (GROUP, "mutatingadmissionpolicies"): _policy,
    (GROUP, "validatingadmissionpolicybindings"): _binding,
    (GROUP, "mutatingadmissionpolicybindings"): _binding,
}
