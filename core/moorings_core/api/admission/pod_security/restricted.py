"""What the level restricted forbids beyond baseline."""

from __future__ import annotations

from moorings_core.ports.objects import Object

from .baseline import Check, Finding, all_containers, security
from .words import containers, counted, quoted, setters

VOLUMES = frozenset(["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"])


def on_linux(check: Check) -> Check:
    """Return a check that does not look at Windows pods."""
    return lambda metadata, spec: None if (spec.get("os") or {}).get("name") == "windows" else check(metadata, spec)


def privilege_escalation(metadata: Object, spec: Object) -> Finding:
    """Containers that do not say that they gain no privileges."""
    names = [c["name"] for c in all_containers(spec) if security(c).get("allowPrivilegeEscalation") is not False]
    text = "must set securityContext.allowPrivilegeEscalation=false"
    return ("allowPrivilegeEscalation != false", f"{containers(names)} {text}") if names else None


def capabilities(metadata: Object, spec: Object) -> Finding:
    """Capabilities that are kept, or added other than NET_BIND_SERVICE."""
    keeping: list[str] = []
    adding: dict[str, set[str]] = {}
    for container in all_containers(spec):
        given = security(container).get("capabilities") or {}
        if "ALL" not in (given.get("drop") or ()):
            keeping.append(container["name"])
        if extra := set(given.get("add") or ()) - {"NET_BIND_SERVICE"}:
            adding[container["name"]] = extra
    details = [f'{containers(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding:
        listed = quoted(sorted(set().union(*adding.values())))
        details.append(f"{containers(list(adding))} must not include {listed} in securityContext.capabilities.add")
    return ("unrestricted capabilities", "; ".join(details)) if details else None


def volumes(metadata: Object, spec: Object) -> Finding:
    """Volumes that are not the cluster's own."""
    kinds = {v["name"]: next((k for k in sorted(v) if k != "name"), "unknown") for v in spec.get("volumes") or ()}
    bad = {name: kind for name, kind in kinds.items() if kind not in VOLUMES}
    if not bad:
        return None
    types, names = sorted(set(bad.values())), list(bad)
    use = "uses" if len(names) == 1 else "use"
    detail = f"{counted('volume', names)} {quoted(names)} {use} {counted('restricted volume type', types)} {quoted(types)}"
    return "restricted volume types", detail


def non_root(metadata: Object, spec: Object) -> Finding:
    """Containers that may run as root."""
    promised = security(spec).get("runAsNonRoot")
    given = {c["name"]: security(c).get("runAsNonRoot") for c in all_containers(spec)}
    explicit = [name for name, value in given.items() if value is False]
    if promised is False or explicit:
        return "runAsNonRoot != true", f"{setters(promised is False, explicit)} must not set securityContext.runAsNonRoot=false"
    silent = [name for name, value in given.items() if value is None and not promised]
    return ("runAsNonRoot != true", f"pod or {containers(silent)} must set securityContext.runAsNonRoot=true") if silent else None


def user(metadata: Object, spec: Object) -> Finding:
    """Containers that ask to be root."""
    pod, names = security(spec).get("runAsUser") == 0, [c["name"] for c in all_containers(spec) if security(c).get("runAsUser") == 0]
    return ("runAsUser=0", f"{setters(pod, names)} must not set runAsUser=0") if pod or names else None


def seccomp(metadata: Object, spec: Object) -> Finding:
    """Containers without a seccomp profile."""
    fine = ("RuntimeDefault", "Localhost")
    pod = (security(spec).get("seccompProfile") or {}).get("type", "")
    given = {c["name"]: (security(c).get("seccompProfile") or {}).get("type", "") for c in all_containers(spec)}
    explicit = [name for name, kind in given.items() if kind and kind not in fine]
    if explicit or (pod and pod not in fine):
        kinds = sorted({given[name] for name in explicit} | ({pod} - {"", *fine}))
        who = setters(bool(pod) and pod not in fine, explicit)
        return "seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {quoted(kinds)}"
    silent = [name for name, kind in given.items() if not kind and not pod]
    text = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return ("seccompProfile", f"pod or {containers(silent)} {text}") if silent else None
