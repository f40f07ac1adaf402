"""Rules of pods and pod templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from moorings_core.ports.objects import Object

from . import amounts, containers, contexts, names, placement, pod_settings
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from .metadata import check_annotations, check_labels

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
CERTIFICATE_SECONDS = (91 * 24 * 3600, 24 * 3600)
"""How long a pod's certificate may live at most: by a signer of somebody's own, and by one of Kubernetes"""
HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
INT32_MOST = 2147483647
IMMUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def pod(obj: Object) -> list[FieldError]:
    """Return what is wrong with a pod."""
    return pod_spec(obj.get("spec") or {}, Path("spec"))


def pod_spec(spec: Object, path: Path, restart_policies: Sequence[str] = RESTART_POLICIES) -> list[FieldError]:
    """Return what is wrong with a PodSpec, in upstream's order."""
    volumes, found = _volumes(spec.get("volumes") or (), path / "volumes")
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
    found += contexts.of_pod(spec.get("securityContext") or {}, path / "securityContext")
    found += placement.affinity(spec.get("affinity") or {}, path / "affinity")
    found += pod_settings.dns(spec, path)
    found += pod_settings.gates(spec, path)
    found += placement.spread(spec.get("topologySpreadConstraints") or (), path / "topologySpreadConstraints")
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
    return found + pod_settings.system(spec, path)


def _containers(spec: Object, path: Path, volumes: set[str]) -> list[FieldError]:
    """Return what is wrong with containers, then init containers, then ephemeral ones."""
    found = [] if spec.get("containers") else [required(path / "containers")]
    place = containers.Place.of(spec, volumes)
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            found += containers.check(container, field, (path / field).at(i), place)
    return found


def pod_update(new: Object, old: Object) -> list[FieldError]:
    """Return whether a pod's spec was changed where it may not be."""
    changed = sorted(_differing(_mutable_masked(new["spec"], old["spec"]), old["spec"], "spec"))
    return [forbidden("spec", f"{IMMUTABLE}\nchanged: {', '.join(changed)}")] if changed else []


def _differing(new: Any, old: Any, path: str) -> Iterator[str]:
    """Yield the paths of the values that differ."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key in new.keys() | old.keys():
            yield from _differing(new.get(key), old.get(key), f"{path}.{key}")
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for index, (a, b) in enumerate(zip(new, old, strict=True)):
            yield from _differing(a, b, f"{path}[{index}]")
    elif new != old:
        yield path


def _mutable_masked(new: Object, old: Object) -> Object:
    masked = dict(new)
    for field in ("containers", "initContainers"):
        if len(new.get(field) or ()) == len(old.get(field) or ()) and field in new and field in old:
            masked[field] = [{**n, "image": o.get("image")} for n, o in zip(new[field], old[field], strict=True)]
    known = old.get("tolerations") or []
    if all(t in (new.get("tolerations") or ()) for t in known) and known:
        masked["tolerations"] = known
    elif not known:
        masked.pop("tolerations", None)
    for field in ("activeDeadlineSeconds", "schedulingGates"):
        masked.pop(field, None)
        if field in old:
            masked[field] = old[field]
    return masked


def _volumes(volumes: Sequence[Object], path: Path) -> tuple[set[str], list[FieldError]]:
    seen: set[str] = set()
    found: list[FieldError] = []
    for i, volume in enumerate(volumes):
        where, name = path.at(i), volume.get("name", "")
        if not name:
            found.append(required(where / "name"))
        elif complaint := names.label(name):
            found.append(invalid(where / "name", name, complaint))
        elif name in seen:
            found.append(duplicate(where / "name", name))
        seen.add(name)
        sources = [k for k, v in volume.items() if k != "name" and v is not None]
        if len(sources) > 1:
            found.append(forbidden(where / sources[1], "may not specify more than 1 volume type"))
        if volume.get("hostPath") is not None:
            found += host_path(volume["hostPath"], where / "hostPath")
        found += _downward(volume, where) + _certificates(volume, where)
        found += _named_source(volume, where)
        if (volume.get("persistentVolumeClaim") or {"claimName": "-"}).get("claimName", "") == "":
            found.append(required(where / "persistentVolumeClaim" / "claimName"))
    return seen, found


def host_path(source: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a path of the node."""
    if not source.get("path"):
        return [required(path / "path")]
    if ".." in source["path"].split("/"):
        return [invalid(path / "path", source["path"], "must not contain '..'")]
    kind = source.get("type") or ""
    return [] if kind in HOST_PATH_TYPES else [not_supported(path / "type", kind, HOST_PATH_TYPES)]


def _named_source(volume: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a volume that shows a ConfigMap or a Secret."""
    found: list[FieldError] = []
    for field, name in (("configMap", "name"), ("secret", "secretName")):
        source = volume.get(field)
        if source is None:
            continue
        if not source.get(name):
            found.append(required(path / field / name))
        if not 0 <= source.get("defaultMode", 0) <= 0o777:
            text = "must be a number between 0 and 0777 (octal), both inclusive"
            found.append(invalid(path / field / "defaultMode", source["defaultMode"], text))
    return found


def _certificates(volume: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the certificates that a volume asks for."""
    found: list[FieldError] = []
    for i, given in enumerate((volume.get("projected") or {}).get("sources") or ()):
        source, where = given.get("podCertificate"), (path / "projected" / "sources").at(i) / "podCertificate"
        if source is None:
            continue
        if source.get("keyType") not in KEY_TYPES:
            found.append(not_supported(where / "keyType", source.get("keyType", ""), KEY_TYPES))
        seconds = source.get("maxExpirationSeconds")
        domain = source.get("signerName", "").partition("/")[0]
        most = CERTIFICATE_SECONDS[1 if domain == "kubernetes.io" or domain.endswith(".kubernetes.io") else 0]
        for wrong, text in ((seconds is not None and seconds < 3600, ">= 3600"), (seconds is not None and seconds > most, f"<= {most}")):
            if wrong:
                found.append(invalid(where / "maxExpirationSeconds", seconds, f"if provided, maxExpirationSeconds must be {text}"))
        if not any(source.get(field) for field in ("credentialBundlePath", "keyPath", "certificateChainPath")):
            found.append(required(where, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
    return found


def _downward(volume: Object, path: Path) -> list[FieldError]:
    """Return which files of a volume show a field that no file can show."""
    found: list[FieldError] = []
    places = [(volume.get("downwardAPI"), path / "downwardAPI")]
    sources = (volume.get("projected") or {}).get("sources") or ()
    places += [(s.get("downwardAPI"), (path / "projected" / "sources").at(i) / "downwardAPI") for i, s in enumerate(sources)]
    for source, where in places:
        for i, item in enumerate((source or {}).get("items") or ()):
            if item.get("fieldRef") is not None:
                found += containers.field_ref(item["fieldRef"], containers.FILE_FIELDS, (where / "items").at(i) / "fieldRef")
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


CREATE = {("", "pods"): pod, ("", "podtemplates"): _pod_template}
UPDATE = {("", "pods"): pod_update}
