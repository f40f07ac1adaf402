"""Rules of pods and pod templates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from moorings_core.ports.objects import Object

from . import amounts, names, placement
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_found, not_supported, required
from .metadata import check_labels

RESTART_POLICIES = ("Always", "OnFailure", "Never")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
NOT_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
CERTIFICATE_SECONDS = (91 * 24 * 3600, 24 * 3600)
"""How long a pod's certificate may live at most: by a signer of somebody's own, and by one of Kubernetes"""
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
HOST_PATH_TYPES = ("BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
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
    """Return what is wrong with a PodSpec."""
    volumes, found = _volumes(spec.get("volumes") or (), path / "volumes")
    containers = spec.get("containers") or ()
    if not containers:
        found.append(required(path / "containers"))
    seen: set[str] = set()
    claims = {c.get("name") for c in spec.get("resourceClaims") or ()}
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            found += _container(container, (path / field).at(i), volumes, seen, claims)
            found += amounts.resize_policies(container, (path / field).at(i), spec.get("restartPolicy", ""))
            if field == "initContainers":
                found += _runs_to_an_end(container, (path / field).at(i))
            if field == "ephemeralContainers":
                given = [name for name in NOT_EPHEMERAL if container.get(name)]
                found += [forbidden((path / field).at(i) / name, "cannot be set for an Ephemeral Container") for name in given]
    if spec.get("restartPolicy") not in restart_policies:
        found.append(not_supported(path / "restartPolicy", spec.get("restartPolicy", ""), restart_policies))
    if spec.get("dnsPolicy") not in DNS_POLICIES:
        found.append(not_supported(path / "dnsPolicy", spec.get("dnsPolicy", ""), DNS_POLICIES))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        found.append(
            invalid(
                path / "terminationGracePeriodSeconds",
                spec["terminationGracePeriodSeconds"],
                "must be greater than or equal to 0",
            )
        )
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= INT32_MOST:
        found.append(invalid(path / "activeDeadlineSeconds", deadline, f"must be between 1 and {INT32_MOST}, inclusive"))
    if spec.get("dnsPolicy") == "None" and spec.get("dnsConfig") is None:
        found.append(required(path / "dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"))
    found += amounts.whole_pod(spec, path / "resources")
    found += _identities(spec.get("securityContext") or {}, path / "securityContext")
    for field, rule in (
        ("nodeName", names.subdomain),
        ("serviceAccountName", names.subdomain),
        ("hostname", names.label),
        ("subdomain", names.label),
    ):
        if spec.get(field) and (complaint := rule(spec[field])):
            found.append(invalid(path / field, spec[field], complaint))
    found += placement.tolerations(spec.get("tolerations") or (), path / "tolerations")
    found += placement.affinity(spec.get("affinity") or {}, path / "affinity")
    found += placement.spread(spec.get("topologySpreadConstraints") or (), path / "topologySpreadConstraints")
    return found + check_labels(spec.get("nodeSelector") or {}, path / "nodeSelector")


def _runs_to_an_end(container: Object, path: Path) -> list[FieldError]:
    """An init container that is no sidecar ends by itself: nothing may probe it."""
    if container.get("restartPolicy") == "Always":
        return []
    text = "may not be set for init containers without restartPolicy=Always"
    return [forbidden(path / field, text) for field in ("lifecycle", *PROBES) if container.get(field)]


def _identities(context: Object, path: Path) -> list[FieldError]:
    return [
        invalid(path / field, context[field], f"must be between 0 and {INT32_MOST}, inclusive")
        for field in ("runAsUser", "runAsGroup", "fsGroup")
        if context.get(field) is not None and not 0 <= context[field] <= INT32_MOST
    ]


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
    return [] if kind in ("", *HOST_PATH_TYPES) else [not_supported(path / "type", kind, HOST_PATH_TYPES)]


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
                found += _field_ref(item["fieldRef"], FILE_FIELDS, (where / "items").at(i) / "fieldRef")
    return found


def _field_ref(reference: Object, allowed: Sequence[str], path: Path) -> list[FieldError]:
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


def _container(container: Object, path: Path, volumes: set[str], seen: set[str], claims: Collection[str]) -> list[FieldError]:
    found: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        found.append(required(path / "name"))
    elif complaint := names.label(name):
        found.append(invalid(path / "name", name, complaint))
    elif name in seen:
        found.append(duplicate(path / "name", name))
    seen.add(name)
    if not container.get("image"):
        found.append(required(path / "image"))
    elif container["image"] != container["image"].strip():
        found.append(invalid(path / "image", container["image"], "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in (None, *PULL_POLICIES):
        found.append(not_supported(path / "imagePullPolicy", container["imagePullPolicy"], PULL_POLICIES))
    found += _ports(container.get("ports") or (), path / "ports")
    found += _environment(container.get("env") or (), path / "env")
    found += _mounts(container.get("volumeMounts") or (), path / "volumeMounts", volumes)
    found += amounts.resources(container.get("resources") or {}, path / "resources", claims)
    found += _identities(container.get("securityContext") or {}, path / "securityContext")
    for probe in PROBES:
        if container.get(probe):
            found += _probe(container[probe], path / probe)
    return found


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
            found += _field_ref(source["fieldRef"], ENVIRONMENT_FIELDS, path.at(i) / "valueFrom" / "fieldRef")
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


def _mounts(mounts: Sequence[Object], path: Path, volumes: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, mount in enumerate(mounts):
        where = path.at(i)
        if not mount.get("name"):
            found.append(required(where / "name"))
        elif mount["name"] not in volumes:
            found.append(not_found(where / "name", mount["name"]))
        if not mount.get("mountPath"):
            found.append(required(where / "mountPath"))
        elif mount["mountPath"] in seen:
            found.append(invalid(where / "mountPath", mount["mountPath"], "must be unique"))
        seen.add(mount.get("mountPath", ""))
        if ".." in (mount.get("subPath") or "").split("/"):
            found.append(invalid(where / "subPath", mount["subPath"], "must not contain '..'"))
    return found


def _probe(probe: Object, path: Path) -> list[FieldError]:
    found = [
        invalid(path / field, probe[field], "must be greater than or equal to 0")
        for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
        if probe.get(field, 0) < 0
    ]
    given = [h for h in HANDLERS if probe.get(h) is not None]
    if not given:
        found.append(required(path, "must specify a handler type"))
    elif len(given) > 1:
        found.append(forbidden(path / given[1], "may not specify more than 1 handler type"))
    for handler in ("httpGet", "tcpSocket"):
        port = (probe.get(handler) or {"port": 1}).get("port")
        if isinstance(port, int) and not 0 < port < 65536:
            found.append(invalid(path / handler / "port", port, "must be between 1 and 65535, inclusive"))
    if "readinessProbe" not in path and probe.get("successThreshold", 1) != 1:
        found.append(invalid(path / "successThreshold", probe["successThreshold"], "must be 1"))
    return found


CREATE = {("", "pods"): pod}
UPDATE = {("", "pods"): pod_update}
