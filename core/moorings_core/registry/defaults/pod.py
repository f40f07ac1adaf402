"""Defaults of pods and pod templates."""

from __future__ import annotations

from collections.abc import Iterator

from moorings_core.ports.objects import Object

from . import off
from .images import pull_policy

DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3600


def pod_spec(spec: Object) -> None:
    """Fill in a PodSpec."""
    off.from_pod(spec)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccount") and not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    elif spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for term in ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        term.setdefault("preference", {})
    for volume in spec.get("volumes") or ():
        _volume(volume)
    for container in _containers(spec):
        _container(container)


def template(body: Object) -> None:
    """Fill in a PodTemplateSpec."""
    body.setdefault("metadata", {})
    pod_spec(body.setdefault("spec", {}))


def pod(obj: Object) -> None:
    """Fill in a Pod: more than its template has, so that the template of a Deployment does not change with the server's version."""
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    status = obj.get("status") or {}
    if status.get("podIP") and not status.get("podIPs"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for container in _containers(spec):
        if spec.get("hostNetwork"):
            _host_ports(container)
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _requests_from_limits(container)


def _containers(spec: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _host_ports(container: Object) -> None:
    for port in container.get("ports") or ():
        port.setdefault("hostPort", port.get("containerPort"))


def _container(container: Object) -> None:
    off.from_container(container)
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    if "imagePullPolicy" not in container and container.get("image"):
        container["imagePullPolicy"] = pull_policy(container["image"])
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _probe(container[probe])
    lifecycle = container.get("lifecycle") or {}
    lifecycle.pop("stopSignal", None)
    for handler in lifecycle.values():
        if isinstance(handler, dict):
            _handler(handler)
    for mount in container.get("volumeMounts") or ():
        mount.pop("bindMountOptions", None)
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")
        amount = (variable.get("valueFrom") or {}).get("resourceFieldRef")
        if amount is not None:
            amount.setdefault("divisor", "0")
        file = (variable.get("valueFrom") or {}).get("fileKeyRef")
        if file is not None:
            file.setdefault("optional", False)


def _requests_from_limits(container: Object) -> None:
    resources = container.get("resources") or {}
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def _probe(probe: Object) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    _handler(probe)


def _handler(handler: Object) -> None:
    if handler.get("httpGet") is not None:
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")
    if handler.get("grpc"):
        handler["grpc"].setdefault("service", "")
        handler["grpc"].pop("mode", None)


def _volume(volume: Object) -> None:
    sources = set(volume) - {"name"}
    if not sources:
        volume["emptyDir"] = {}
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(volume.get(source), dict):
            volume[source].setdefault("defaultMode", DEFAULT_MODE)
            _drop_users(volume[source])
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _field_ref(item)
    for source in (volume.get("projected") or {}).get("sources") or ():
        for part in source.values():
            if isinstance(part, dict):
                _drop_users(part)
        if source.get("serviceAccountToken") is not None:
            source["serviceAccountToken"].setdefault("expirationSeconds", TOKEN_SECONDS)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _field_ref(item)
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim is not None:
        claim.setdefault("metadata", {})
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    image = volume.get("image")
    if image is not None and image.get("reference"):
        image.setdefault("pullPolicy", pull_policy(image["reference"]))


def _drop_users(source: Object) -> None:
    """Who owns the files of a volume: a feature that is off by default."""
    for field in ("defaultUser", "user"):
        source.pop(field, None)
    for item in source.get("items") or ():
        item.pop("user", None)


def _field_ref(item: Object) -> None:
    if item.get("fieldRef") is not None:
        item["fieldRef"].setdefault("apiVersion", "v1")
    if item.get("resourceFieldRef") is not None:
        item["resourceFieldRef"].setdefault("divisor", "0")
