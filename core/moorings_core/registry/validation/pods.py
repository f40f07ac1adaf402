"""Rules of pods and pod templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moorings_core.ports.objects import Object

from . import amounts, containers, contexts, environment, placement, pod_settings, pod_status, pod_updates, pod_volumes, windows
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .metadata import check_annotations, check_labels

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
INT32_MOST = 2147483647


def pod(obj: Object) -> list[FieldError]:
    """Return what is wrong with a pod."""
    spec, path = obj.get("spec") or {}, Path("spec")
    found = pod_spec(spec, path, name=obj["metadata"].get("name", ""))
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            found += containers.trimmed(container, (path / field).at(i))
    return found


def _new_pod(obj: Object) -> list[FieldError]:
    spec, found = obj.get("spec") or {}, pod(obj)
    if "resourceVersion" in obj["metadata"]:
        return found
    if spec.get("ephemeralContainers"):
        found.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        found.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return found


def pod_spec(spec: Object, path: Path, restart_policies: Sequence[str] = RESTART_POLICIES, *, name: str = "") -> list[FieldError]:
    """Return what is wrong with a PodSpec, in upstream's order; name: its pod's, "" in a template."""
    volumes, found = pod_volumes.volumes(spec.get("volumes") or (), path / "volumes", name)
    found += pod_settings.resource_claims(spec.get("resourceClaims") or (), path / "resourceClaims")
    found += _containers(spec, path, volumes)
    found += amounts.whole_pod(spec, path / "resources")
    found += pod_settings.host_ports(spec, path)
    if spec.get("restartPolicy") not in restart_policies:
        known = RESTART_POLICIES if spec.get("restartPolicy") else restart_policies
        found.append(not_supported(path / "restartPolicy", spec.get("restartPolicy", ""), known))
    if spec.get("dnsPolicy") not in DNS_POLICIES:
        found.append(not_supported(path / "dnsPolicy", spec.get("dnsPolicy", ""), DNS_POLICIES))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        text = "must be greater than or equal to 0"
        found.append(invalid(path / "terminationGracePeriodSeconds", spec["terminationGracePeriodSeconds"], text))
    found += check_labels(spec.get("nodeSelector") or {}, path / "nodeSelector")
    found += contexts.of_pod(spec, path / "securityContext")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(invalid(path / "shareProcessNamespace", True, text))
    found += placement.affinity(spec.get("affinity") or {}, path / "affinity")
    found += pod_settings.dns(spec, path)
    found += pod_settings.gates(spec, path)
    found += placement.spread(spec.get("topologySpreadConstraints") or (), path / "topologySpreadConstraints")
    found += windows.host_processes(spec, _each(spec, path), path)
    found += pod_settings.host_users(spec, _each(spec, path), path)
    found += pod_settings.host_name(spec, path)
    found += pod_settings.account(spec, path)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= INT32_MOST:
        found.append(invalid(path / "activeDeadlineSeconds", deadline, f"must be between 1 and {INT32_MOST}, inclusive"))
    found += pod_settings.own_names(spec, path)
    found += placement.tolerations(spec.get("tolerations") or (), path / "tolerations")
    found += pod_settings.rest(spec, path)
    if spec.get("overhead"):
        found += amounts.resources({"limits": spec["overhead"]}, path / "overhead")
    found += pod_settings.system(spec, path) or windows.of_system(spec, _each(spec, path), path)
    return found + environment.file_volumes(_each(spec, path), spec.get("volumes") or ())


def _each(spec: Object, path: Path) -> list[tuple[Object, Path]]:
    """Return every container with its path: init containers, containers, then ephemeral ones."""
    fields = ("initContainers", "containers", "ephemeralContainers")
    return [(container, (path / field).at(i)) for field in fields for i, container in enumerate(spec.get(field) or ())]


def _containers(spec: Object, path: Path, volumes: Mapping[str, Object]) -> list[FieldError]:
    """Return what is wrong with containers, then init containers, then ephemeral ones."""
    found = [] if spec.get("containers") else [required(path / "containers")]
    place = containers.Place.of(spec, volumes)
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            found += containers.check(container, field, (path / field).at(i), place)
    return found


def template(given: Object, path: Path, restart_policies: Sequence[str] = RESTART_POLICIES) -> list[FieldError]:
    """Return what is wrong with a pod template."""
    metadata, spec = given.get("metadata") or {}, given.get("spec") or {}
    found = check_labels(metadata.get("labels") or {}, path / "labels")
    found += check_annotations(metadata.get("annotations") or {}, path / "annotations")
    found += pod_spec(spec, path / "spec", restart_policies)
    if spec.get("ephemeralContainers"):
        found.append(forbidden(path / "spec" / "ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return found


def _pod_template(obj: Object) -> list[FieldError]:
    return template(obj.get("template") or {}, Path("template"))


CREATE = {("", "pods"): _new_pod, ("", "podtemplates"): _pod_template}
UPDATE = {("", "pods"): pod_updates.pod_update}
STATUS = {("", "pods"): pod_status.check_status}
