"""Rules of a container of a pod, of any of its three kinds. Source: upstream's validateContainerCommon and what it calls, in its order."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from moorings_core.ports.objects import Object

from . import amounts, contexts, handlers, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_found, not_supported, required

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MESSAGES = ("File", "FallbackToLogsOnError")
PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
RESTARTS = ("Always", "Never", "OnFailure")
ACTIONS, OPERATORS = ("Restart", "RestartAllContainers"), ("In", "NotIn")
NOT_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources")
FILE_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
ENVIRONMENT_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
OTHER_FIELDS = ("spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host")
TARGET_WORDS = "may not be set for init containers without restartPolicy=Always"


@dataclass(frozen=True, slots=True)
class Place:
    """What a container must fit to: its pod."""

    volumes: Collection[str]
    claims: Collection[str]
    restart: str
    grace: int
    system: Object | None
    seen: set[str] = dataclasses.field(default_factory=set)

    @classmethod
    def of(cls, spec: Object, volumes: Collection[str]) -> Place:
        """Return the place that a PodSpec is."""
        claims = {claim.get("name", "") for claim in spec.get("resourceClaims") or ()}
        return cls(volumes, claims, spec.get("restartPolicy", ""), spec.get("terminationGracePeriodSeconds", 0), spec.get("os"))


def check(container: Object, kind: str, path: Path, place: Place) -> list[FieldError]:
    """Return what is wrong with a container; kind: the field of the PodSpec that it stands in."""
    found = _common(container, path, place)
    name = container.get("name", "")
    if name and name in place.seen:
        found.append(duplicate(path / "name", name))
    place.seen.add(name)
    if kind == "ephemeralContainers":
        return found + [forbidden(path / f, "cannot be set for an Ephemeral Container") for f in NOT_EPHEMERAL if container.get(f)]
    restarts = _restarts(container, path)
    if kind == "initContainers" and container.get("restartPolicy") != "Always":
        return found + restarts + [forbidden(path / f, TARGET_WORDS) for f in ("lifecycle", *handlers.PROBES) if container.get(f)]
    watched: list[FieldError] = []
    if container.get("lifecycle") is not None:
        watched += handlers.lifecycle(container["lifecycle"], path / "lifecycle", place.grace, place.system)
    for probe in handlers.PROBES:
        if container.get(probe) is not None:
            watched += handlers.probe(container[probe], path / probe, place.grace)
    return found + (restarts + watched if kind == "initContainers" else watched + restarts)


def _common(container: Object, path: Path, place: Place) -> list[FieldError]:
    found: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        found.append(required(path / "name"))
    elif complaint := names.label(name):
        found.append(invalid(path / "name", name, complaint))
    if not container.get("image"):
        found.append(required(path / "image"))
    elif "template" not in path and container["image"] != container["image"].strip():
        found.append(invalid(path / "image", container["image"], "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy", "File")
    if policy not in MESSAGES:
        found.append(not_supported(path / "terminationMessagePolicy", policy, MESSAGES))
    found += _ports(container.get("ports") or (), path / "ports")
    found += _environment(container.get("env") or (), path / "env")
    found += _sources(container.get("envFrom") or (), path / "envFrom")
    found += _mounts(container, path / "volumeMounts", place.volumes)
    found += _devices(container.get("volumeDevices") or (), path / "volumeDevices", place.volumes)
    if container.get("imagePullPolicy") not in (None, *PULL_POLICIES):
        found.append(not_supported(path / "imagePullPolicy", container["imagePullPolicy"], PULL_POLICIES))
    found += amounts.resources(container.get("resources") or {}, path / "resources", place.claims)
    found += amounts.resize_policies(container, path, place.restart)
    return found + contexts.of_container(container.get("securityContext") or {}, path / "securityContext")


def _restarts(container: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a container's own restart policy and its rules."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    found: list[FieldError] = []
    if policy is None and rules:
        found.append(required(path / "restartPolicy", "must specify restartPolicy when restart rules are used"))
    elif policy not in (None, *RESTARTS):
        found.append(not_supported(path / "restartPolicy", policy, RESTARTS))
    for i, rule in enumerate(rules):
        where, codes = (path / "restartPolicyRules").at(i), rule.get("exitCodes")
        if rule.get("action") not in ACTIONS:
            found.append(not_supported(where / "action", rule.get("action", ""), ACTIONS))
        if codes is None:
            found.append(required(where / "exitCodes", "must be specified"))
        elif codes.get("operator") not in OPERATORS:
            found.append(not_supported(where / "exitCodes" / "operator", codes.get("operator", ""), OPERATORS))
    return found


def _sources(sources: Sequence[Object], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for i, source in enumerate(sources):
        if source.get("prefix") and (complaint := names.variable(source["prefix"])):
            found.append(invalid(path.at(i) / "prefix", source["prefix"], complaint))
        given = [f for f in ("configMapRef", "secretRef") if source.get(f) is not None]
        for kind in given:
            name, where = source[kind].get("name", ""), path.at(i) / kind / "name"
            if not name:
                found.append(required(where))
            elif complaint := names.subdomain(name):
                found.append(invalid(where, name, complaint))
        if not given:
            found.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(invalid(path, "", "may not have more than one field specified at a time"))
    return found


def _devices(devices: Sequence[Object], path: Path, volumes: Collection[str]) -> list[FieldError]:
    found: list[FieldError] = []
    for i, device in enumerate(devices):
        if not device.get("name"):
            found.append(required(path.at(i) / "name"))
        if device.get("name", "") not in volumes:
            found.append(not_found(path.at(i) / "name", device.get("name", "")))
        if not device.get("devicePath"):
            found.append(required(path.at(i) / "devicePath"))
    return found


def field_ref(reference: Object, allowed: Sequence[str], path: Path) -> list[FieldError]:
    """Return what is wrong with a reference to a field of the pod."""
    name = reference.get("fieldPath", "")
    if not name:
        return [required(path / "fieldPath")]
    base, bracket, _ = name.partition("['")
    if bracket and name.endswith("']"):
        if base in ("metadata.annotations", "metadata.labels"):
            return []
        detail = f"error converting fieldPath: field label does not support subscript: {name}"
        return [invalid(path / "fieldPath", name, detail)]
    if name not in {*FILE_FIELDS, *ENVIRONMENT_FIELDS, *OTHER_FIELDS}:
        return [invalid(path / "fieldPath", name, f"error converting fieldPath: field label not supported: {name}")]
    return [] if name in allowed else [not_supported(path / "fieldPath", name, allowed)]


def _ports(ports: Sequence[Object], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    names_seen: set[str] = set()
    hosts_seen: set[str] = set()
    for i, port in enumerate(ports):
        where = path.at(i)
        for field in ("containerPort", "hostPort"):
            value = port.get(field)
            if not value and field == "containerPort":
                found.append(required(where / field))
            elif value and not 0 < value < 65536:
                found.append(invalid(where / field, value, "must be between 1 and 65535, inclusive"))
        if port.get("hostPort"):
            place = f"{port.get('protocol')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if place in hosts_seen:
                found.append(duplicate(where / "hostPort", place))
            hosts_seen.add(place)
        if port.get("protocol") not in PROTOCOLS:
            found.append(not_supported(where / "protocol", port.get("protocol", ""), PROTOCOLS))
        if port.get("name"):
            if port["name"] in names_seen:
                found.append(duplicate(where / "name", port["name"]))
            names_seen.add(port["name"])
            if complaint := names.port_name(port["name"]):
                found.append(invalid(where / "name", port["name"], complaint))
    return found


def _environment(variables: Sequence[Object], path: Path) -> list[FieldError]:
    found = []
    for i, variable in enumerate(variables):
        if not variable.get("name"):
            found.append(required(path.at(i) / "name"))
        elif complaint := names.variable(variable["name"]):
            found.append(invalid(path.at(i) / "name", variable["name"], complaint))
        source = variable.get("valueFrom")
        if source is not None and source.get("fieldRef") is not None:
            found += field_ref(source["fieldRef"], ENVIRONMENT_FIELDS, path.at(i) / "valueFrom" / "fieldRef")
        if source is not None and variable.get("value"):
            found.append(invalid(path.at(i) / "valueFrom", "", "may not be specified when `value` is not empty"))
        if source is not None and len([v for v in source.values() if v is not None]) != 1:
            found.append(
                invalid(
                    path.at(i) / "valueFrom",
                    "",
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                )
            )
    return found


def _mounts(container: Object, path: Path, volumes: Collection[str]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    devices = {device.get("name"): device.get("devicePath") for device in container.get("volumeDevices") or ()}
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        where, name, target = path.at(i), mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            found.append(required(where / "name"))
        if name not in volumes:
            found.append(not_found(where / "name", name))
        if not target:
            found.append(required(where / "mountPath"))
        if target in seen:
            found.append(invalid(where / "mountPath", target, "must be unique"))
        seen.add(target)
        if name in devices:
            found.append(invalid(where / "name", name, "must not already exist in volumeDevices"))
        if target in devices.values():
            found.append(invalid(where / "mountPath", target, "must not already exist as a path in volumeDevices"))
        found += _below(mount, path, where)
        found += _propagation(mount.get("mountPropagation"), container, path / "mountPropagation")
    return found


def _below(mount: Object, path: Path, where: Path) -> list[FieldError]:
    """Return what is wrong with the part of a volume that is mounted; upstream leaves the mount's number out of these paths."""
    found: list[FieldError] = []
    if mount.get("subPath"):
        found += contexts.descending(mount["subPath"], path / "subPath")
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            found.append(invalid(where / "subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"))
        found += contexts.descending(mount["subPathExpr"], path / "subPathExpr")
    return found


def _propagation(mode: str | None, container: Object, path: Path) -> list[FieldError]:
    if mode is None:
        return []
    found = [] if mode in PROPAGATIONS else [not_supported(path, mode, PROPAGATIONS)]
    if mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        found.append(forbidden(path, "Bidirectional mount propagation is available only to privileged containers"))
    return found
