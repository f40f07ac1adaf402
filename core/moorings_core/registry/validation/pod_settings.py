"""Rules of a PodSpec's plain fields: names, addresses, DNS. Source: upstream's ValidatePodSpec and what it calls, in its order."""

from __future__ import annotations

import re
from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import ips, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from .formats import qualified

SYSTEMS = ("linux", "windows")
PREEMPTION = ("PreemptLowerPriority", "Never")
MOST_SERVERS, MOST_SEARCHES, MOST_LETTERS = 3, 32, 2048
UNDERSCORED_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"
)
_UNDERSCORED = re.compile(r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")


def resource_claims(claims: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with the claims of devices that a pod names."""
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        name, where = claim.get("name", ""), path.at(i)
        if not name:
            found.append(required(where / "name"))
        elif name in seen:
            found.append(duplicate(where / "name", name))
        elif complaint := names.label(name):
            found.append(invalid(where / "name", name, complaint))
        seen.add(name)
        given = [f for f in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(f) is not None]
        shown = {"Name": name, "ResourceClaimName": claim.get("resourceClaimName"), "ResourceClaimTemplateName": None}
        shown["ResourceClaimTemplateName"] = claim.get("resourceClaimTemplateName")
        if len(given) > 1:
            found.append(invalid(where, shown, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
        if not given:
            found.append(invalid(where, shown, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
        found += [invalid(where / f, claim[f], complaint) for f in given if (complaint := names.subdomain(claim[f]))]
    return found


def dns(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a pod's own DNS settings."""
    config, where = spec.get("dnsConfig"), path / "dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            return [required(where, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            return [required(where / "nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")]
    if config is None:
        return []
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    found: list[FieldError] = []
    if len(servers) > MOST_SERVERS:
        found.append(invalid(where / "nameservers", servers, f"must not have more than {MOST_SERVERS} nameservers"))
    found += [error for i, server in enumerate(servers) for error in ips.address(server, (where / "nameservers").at(i))]
    if len(searches) > MOST_SEARCHES:
        found.append(invalid(where / "searches", searches, f"must not have more than {MOST_SEARCHES} search paths"))
    if len(" ".join(searches)) > MOST_LETTERS:
        text = f"must not have more than {MOST_LETTERS} characters (including spaces) in the search list"
        found.append(invalid(where / "searches", searches, text))
    for i, search in enumerate(searches):
        short = search.removesuffix(".")
        if search != "." and not _UNDERSCORED.fullmatch(short):
            found.append(invalid((where / "searches").at(i), short, UNDERSCORED_WORDS))
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(required((where / "options").at(i), "must not be empty"))
    return found


def gates(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the names of a pod's gates."""
    found: list[FieldError] = []
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        found += qualified(gate.get("conditionType", ""), (path / "readinessGates").at(i) / "conditionType")
    seen: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        name, where = gate.get("name", ""), (path / "schedulingGates").at(i)
        found += qualified(name, where)
        if name in seen:
            found.append(duplicate(where, name))
        seen.add(name)
    return found


def host_name(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the name that overrides all others."""
    name, where = spec.get("hostnameOverride"), path / "hostnameOverride"
    if name is None:
        return []
    found = [forbidden(where, "may not be specified when setHostnameAsFQDN is true")] if spec.get("setHostnameAsFQDN") else []
    if spec.get("hostNetwork"):
        found.append(forbidden(where, "may not be specified when hostNetwork is true"))
    return found + _named(spec, path, "hostnameOverride", subdomain=True)


def host_ports(spec: Object, path: Path) -> list[FieldError]:
    """Return which ports of a pod on its node's network are not the node's."""
    if not spec.get("hostNetwork"):
        return []
    return [
        invalid(
            ((path / "containers").at(i) / "ports").at(j) / "hostPort",
            port["hostPort"],
            "must match `containerPort` when `hostNetwork` is true",
        )
        for i, container in enumerate(spec.get("containers") or ())
        for j, port in enumerate(container.get("ports") or ())
        if port.get("hostPort") and port["hostPort"] != port.get("containerPort")
    ]


def host_users(spec: Object, containers: Sequence[tuple[Object, Path]], path: Path) -> list[FieldError]:
    """Return which namespaces of its node a pod may not have that has users of its own."""
    if spec.get("hostUsers") is not False:
        return []
    text = "when `hostUsers` is false"
    fields = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    found = [forbidden(path / shown, text) for field, shown in fields if spec.get(field)]
    return found + [forbidden(where / "volumeDevices", text) for container, where in containers if container.get("volumeDevices")]


def account(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the account, which goes by two names."""
    found = _named(spec, path, "serviceAccountName", subdomain=True)
    name, old = spec.get("serviceAccountName", ""), spec.get("serviceAccount", "")
    if old and old != name:
        found.append(invalid(path / "deprecatedServiceAccount", old, f'must be the same as serviceAccountName: "{name}"'))
    return found + _named(spec, path, "nodeName", subdomain=True)


def own_names(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the names that a pod has on the network."""
    return _named(spec, path, "hostname", subdomain=False) + _named(spec, path, "subdomain", subdomain=False)


def rest(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with aliases, classes, preemption and the operating system."""
    found: list[FieldError] = []
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        where = (path / "hostAliases").at(i)
        found += ips.address(alias.get("ip", ""), where / "ip")
        for j, name in enumerate(alias.get("hostnames") or ()):
            if complaint := names.subdomain(name):
                found.append(invalid((where / "hostnames").at(j), name, complaint))
    found += _named(spec, path, "priorityClassName", subdomain=True)
    found += _named(spec, path, "runtimeClassName", subdomain=True)
    policy = spec.get("preemptionPolicy")
    if policy not in (None, *PREEMPTION):
        where = path / "preemptionPolicy"
        found.append(not_supported(where, policy, PREEMPTION) if policy else required(where))
    return found


def system(spec: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the operating system that a pod is for."""
    if spec.get("os") is None:
        return []
    name = spec["os"].get("name", "")
    if not name:
        return [required(path / "os" / "name")]
    return [] if name in SYSTEMS else [not_supported(path / "os", name, SYSTEMS)]


def _named(spec: Object, path: Path, field: str, *, subdomain: bool) -> list[FieldError]:
    name = spec.get(field)
    complaint = (names.subdomain(name) if subdomain else names.label(name)) if name else ""
    return [invalid(path / field, name, complaint)] if complaint else []
