"""When PodSecurity looks: at pods, to refuse them; at workloads, to warn of what their pods will meet; at namespaces, to warn of
what is in them already.
"""

from __future__ import annotations

from collections.abc import Iterable

from moorings_core.api.admission.attributes import Attributes
from moorings_core.api.admission.plugin import ANY, Step, World
from moorings_core.ports.objects import Key, Object
from moorings_core.registry.validation import to_invalid

from .checks import Findings, evaluate
from .levels import PREFIX, Level, Policy, defaults, policy_of

MOST_PODS = 3000
IGNORED = frozenset({"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"})
WORKLOADS = (
    ("", "replicationcontrollers"),
    ("", "podtemplates"),
    ("apps", "replicasets"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
)


def check_pod(world: World, a: Attributes) -> None:
    """Refuse a pod that the namespace's level forbids. Raises Forbidden."""
    if a.subresource in IGNORED or _is_exempt(world, a.key.namespace):
        return
    policy, wrong = _policy(world, a.key.namespace)
    if policy.is_open and not wrong:
        return
    if a.operation == "UPDATE" and not _is_significant(a.new["spec"], (a.old or {}).get("spec", {})):
        return
    findings = evaluate(policy.enforce, a.new["metadata"], a.new["spec"])
    a.context.annotate(f"{PREFIX}enforce-policy", str(policy.enforce))
    if findings:
        _note(a, policy, a.new["metadata"], a.new["spec"], {policy.enforce: findings}, warn=False)
        raise a.forbidden(f'violates PodSecurity "{policy.enforce}": {findings.detail}')
    _note(a, policy, a.new["metadata"], a.new["spec"], {policy.enforce: findings}, warn=True)


def check_workload(world: World, a: Attributes) -> None:
    """Warn of a workload whose pods the namespace would refuse or warn of."""
    if _is_exempt(world, a.key.namespace):
        return
    policy, _ = _policy(world, a.key.namespace)
    template = _template(a.new)
    if template and not policy.audit.name == policy.warn.name == "privileged":
        _note(a, policy, template.get("metadata") or {}, template.get("spec") or {}, {}, warn=True)


def check_namespace(world: World, a: Attributes) -> None:
    """Refuse labels that say nothing, and warn of pods that the new level would refuse. Raises Invalid."""
    default = defaults(world.config.server.pod_security)
    labels = a.new["metadata"].get("labels") or {}
    policy, wrong = policy_of(labels, default)
    old, old_wrong = policy_of(((a.old or {}).get("metadata") or {}).get("labels") or {}, default)
    if wrong and (a.operation == "CREATE" or wrong != old_wrong):
        raise to_invalid(a.resource, a.name, wrong)
    if a.operation == "UPDATE":
        relaxed = policy.enforce.minor == old.enforce.minor and policy.enforce.rank <= old.enforce.rank
        if policy.enforce == old.enforce or policy.enforce.name == "privileged" or relaxed:
            return
    if _is_exempt(world, a.key.name):
        a.context.warnings.extend(_exemption(a.key.name, policy, labels, default))
    elif a.operation == "UPDATE":
        a.context.warnings.extend(_warnings(world, a.key.name, policy.enforce))


def _note(a: Attributes, policy: Policy, metadata: Object, spec: Object, known: dict[Level, Findings], *, warn: bool) -> None:
    """Tell the audit and the client what the other levels find; known: what was found by now."""
    for level in (policy.audit, policy.warn) if warn else (policy.audit,):
        if level not in known:
            known[level] = evaluate(level, metadata, spec)
    if audited := known[policy.audit]:
        a.context.annotate(f"{PREFIX}audit-violations", f'would violate PodSecurity "{policy.audit}": {audited.detail}')
    if warn and (warned := known[policy.warn]):
        a.context.warnings.append(f'would violate PodSecurity "{policy.warn}": {warned.detail}')


def _policy(world: World, namespace: str) -> tuple[Policy, bool]:
    found = world.cache.collection("", "namespaces").get(Key("", namespace))
    labels = (found.object["metadata"].get("labels") or {}) if found is not None else {}
    policy, wrong = policy_of(labels, defaults(world.config.server.pod_security))
    return policy, bool(wrong)


def _is_exempt(world: World, namespace: str) -> bool:
    return namespace in world.config.server.pod_security.exempt_namespaces


def _template(obj: Object) -> Object | None:
    if obj.get("kind") == "PodTemplate":
        return obj.get("template")
    spec = obj.get("spec") or {}
    if "jobTemplate" in spec:
        spec = (spec["jobTemplate"] or {}).get("spec") or {}
    template: Object | None = spec.get("template")
    return template


def _is_significant(new: Object, old: Object) -> bool:
    """Whether an update of a pod changes what it runs."""
    for field in ("containers", "initContainers"):
        mine, theirs = new.get(field) or (), old.get(field) or ()
        if len(mine) != len(theirs) or any(c.get("image") != o.get("image") for c, o in zip(mine, theirs, strict=True)):
            return True
    known = {c["name"]: c for c in old.get("ephemeralContainers") or ()}
    added = new.get("ephemeralContainers") or ()
    return any(c["name"] not in known or known[c["name"]].get("image") != c.get("image") for c in added)


def _warnings(world: World, namespace: str, level: Level) -> list[str]:
    """Return which pods of a namespace a new level would refuse, those with one reason together."""
    pods = _one_of_each([s.object for s in world.cache.collection("", "pods").select(namespace)])
    by_reason: dict[str, list[str]] = {}
    for pod in pods[:MOST_PODS]:
        if findings := evaluate(level, pod["metadata"], pod["spec"]):
            by_reason.setdefault(findings.reason, []).append(pod["metadata"]["name"])
    told = []
    if len(pods) > MOST_PODS:
        told.append(f"new PodSecurity enforce level only checked against the first {MOST_PODS} of {len(pods)} existing pods")
    if by_reason:
        told.append(f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{level}"')
    return told + sorted(f"{min(names)}{_others(len(names) - 1)}: {reason}" for reason, names in by_reason.items())


def _others(number: int) -> str:
    return {0: "", 1: " (and 1 other pod)"}.get(number, f" (and {number} other pods)")


def _one_of_each(pods: Iterable[Object]) -> list[Object]:
    """Return the pods with one of each controller first, so that a limit leaves out only more of the same."""
    first: list[Object] = []
    more: list[Object] = []
    seen: set[str] = set()
    for pod in pods:
        uid = next((r["uid"] for r in pod["metadata"].get("ownerReferences") or () if r.get("controller")), None)
        (more if uid in seen else first).append(pod)
        if uid is not None:
            seen.add(uid)
    return first + more


def _exemption(namespace: str, policy: Policy, labels: Object, default: Policy) -> list[str]:
    if policy.is_open or policy == default:
        return []
    modes = {"enforce": policy.enforce, "audit": policy.audit, "warn": policy.warn}
    said = [
        f"{mode}={level}"
        for mode, level in modes.items()
        if level.name != "privileged" and (f"{PREFIX}{mode}" in labels or f"{PREFIX}{mode}-version" in labels)
    ]
    return [f'namespace "{namespace}" is exempt from Pod Security, and the policy ({", ".join(said)}) will be ignored']


VALIDATE = (
    Step(check_pod, ("CREATE", "UPDATE"), ("", "pods"), (ANY,)),
    *(Step(check_workload, ("CREATE", "UPDATE"), resource) for resource in WORKLOADS),
    Step(check_namespace, ("CREATE", "UPDATE"), ("", "namespaces")),
)
