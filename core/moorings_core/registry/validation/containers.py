"""Rules of a container of a pod, of any of its three kinds. Source: upstream's validateContainerCommon and what it calls, in its order."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from moorings_core.ports.objects import Object

from . import amounts, contexts, environment, handlers, mounts, names, ports
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_found, not_supported, required

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGES = ("File", "FallbackToLogsOnError")
RESTARTS = ("Always", "Never", "OnFailure")
ACTIONS, OPERATORS = ("Restart", "RestartAllContainers"), ("In", "NotIn")
NOT_EPHEMERAL = (
    "ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe", "startupProbe",
    "lifecycle",
)  # fmt: skip
EPHEMERAL_WORDS = "cannot be set for an Ephemeral Container"
TARGET_WORDS = "may not be set for init containers without restartPolicy=Always"


@dataclass(frozen=True, slots=True)
class Place:
    """What a container must fit to: its pod."""

    volumes: Mapping[str, Object]
    claims: Collection[str]
    restart: str
    grace: int
    own_users: bool
    others: Collection[str]
    """The names of containers that an ephemeral one can look into"""
    seen: set[str] = dataclasses.field(default_factory=set)
    host_ports: set[str] = dataclasses.field(default_factory=set)

    @classmethod
    def of(cls, spec: Object, volumes: Mapping[str, Object]) -> Place:
        """Return the place that a PodSpec is."""
        claims = {claim["name"] for claim in spec.get("resourceClaims") or () if claim.get("name")}
        others = {c.get("name", "") for field in ("containers", "initContainers") for c in spec.get(field) or ()}
        restart, grace = spec.get("restartPolicy", ""), spec.get("terminationGracePeriodSeconds", 0)
        return cls(volumes, claims, restart, grace, spec.get("hostUsers") is False, others)


def check(container: Object, kind: str, path: Path, place: Place) -> list[FieldError]:
    """Return what is wrong with a container; kind: the field of the PodSpec that it stands in."""
    found = _common(container, path, place)
    if kind == "ephemeralContainers":
        return found + trimmed(container, path) + _known_once(container, path, place) + _ephemeral(container, path, place)
    restarts = _restarts(container, path)
    if kind == "initContainers":
        found += restarts + _known_once(container, path, place) + ports.host_ports(container, path, set())
        if container.get("restartPolicy") == "Always":
            return found + _watched(container, path, place)
        return found + [forbidden(path / f, TARGET_WORDS) for f in ("lifecycle", *handlers.PROBES) if container.get(f)]
    found += _known_once(container, path, place) + _watched(container, path, place) + restarts
    return found + ports.host_ports(container, path, place.host_ports)


def trimmed(container: Object, path: Path) -> list[FieldError]:
    """Return whether an image has blanks around it; in a template that is let through."""
    image = container.get("image", "")
    return [] if image == image.strip() else [invalid(path / "image", image, "must not have leading or trailing whitespace")]


def _known_once(container: Object, path: Path, place: Place) -> list[FieldError]:
    name = container.get("name", "")
    found = [duplicate(path / "name", name)] if name in place.seen else []
    place.seen.add(name)
    return found


def _ephemeral(container: Object, path: Path, place: Place) -> list[FieldError]:
    target = container.get("targetContainerName", "")
    found = [] if not target or target in place.others else [not_found(path / "targetContainerName", target)]
    found += [forbidden(path / field, EPHEMERAL_WORDS) for field in NOT_EPHEMERAL if container.get(field)]
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        where = (path / "volumeMounts").at(i)
        found += [forbidden(where / field, EPHEMERAL_WORDS) for field in ("subPath", "subPathExpr") if mount.get(field)]
    return found


def _watched(container: Object, path: Path, place: Place) -> list[FieldError]:
    """Return what is wrong with what is done to a container from outside."""
    found: list[FieldError] = []
    if container.get("lifecycle") is not None:
        found += handlers.lifecycle(container["lifecycle"], path / "lifecycle", place.grace)
    for probe in handlers.PROBES:
        if container.get(probe) is not None:
            found += handlers.probe(container[probe], path / probe, place.grace)
    return found


def _common(container: Object, path: Path, place: Place) -> list[FieldError]:
    found: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        found.append(required(path / "name"))
    elif complaint := names.label(name):
        found.append(invalid(path / "name", name, complaint))
    if not container.get("image"):
        found.append(required(path / "image"))
    policy = container.get("terminationMessagePolicy", "File")
    if policy not in MESSAGES:
        found.append(not_supported(path / "terminationMessagePolicy", policy, MESSAGES))
    found += ports.ports(container.get("ports") or (), path / "ports")
    found += environment.variables(container.get("env") or (), path / "env")
    found += environment.sources(container.get("envFrom") or (), path / "envFrom")
    found += mounts.mounts(container, path / "volumeMounts", place.volumes)
    found += mounts.devices(container, path / "volumeDevices", place.volumes)
    if container.get("imagePullPolicy") not in (None, *PULL_POLICIES):
        found.append(not_supported(path / "imagePullPolicy", container["imagePullPolicy"], PULL_POLICIES))
    found += amounts.resources(container.get("resources") or {}, path / "resources", place.claims)
    found += amounts.resize_policies(container, path, place.restart)
    return found + contexts.of_container(container.get("securityContext") or {}, path / "securityContext", own_users=place.own_users)


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
