"""Rules of what a PersistentVolume lies on: one source, and what each source needs.

Source: upstream's validateHostPathVolumeSource and its neighbours, in their order and words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, forbidden, invalid, not_supported, required
from .formats import driver_name, named, needed

Rule = Callable[[Object, Path], list[FieldError]]
MORE = "may not specify more than 1 volume type"
HOST_PATH_TYPES = ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
NO_STEPS_BACK = "must not contain '..'"
INITIATORS = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"eui.[A-Za-z0-9]{16}"),
    "naa": re.compile(r"naa.[A-Za-z0-9]{32}"),
}
CACHING, DISKS = ("None", "ReadOnly", "ReadWrite"), ("Dedicated", "Managed", "Shared")
MANAGED_DISK = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
BLOB_DISK = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
PORTAL_MOST = 64
PORTAL_WORDS = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."
REGISTRY = "must be a host:port pair or multiple pairs separated by commas"


def host_path(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a path of the node."""
    if not given.get("path"):
        return [required(path / "path")]
    found = [invalid(path / "path", given["path"], NO_STEPS_BACK)] if ".." in given["path"].split("/") else []
    kind = given.get("type") or ""
    return found if kind in HOST_PATH_TYPES else [*found, not_supported(path / "type", kind, HOST_PATH_TYPES)]


def source(spec: Object, path: Path, name: str, *, bound: bool) -> list[FieldError]:
    """Return what is wrong with the source of a volume; name is the volume's, bound whether it says which nodes reach it."""
    found: list[FieldError] = []
    there = [field for field in SOURCES if spec.get(field) is not None]
    first = there[0] if there else ""
    for field in there:
        given = spec[field]
        if field not in (first, "flexVolume"):
            found.append(forbidden(path / TOLD.get(field, field), MORE))
            continue
        found += SOURCES[field](given, path / LOOKED.get(field, field))
        if field == "iscsi" and given.get("initiatorName") is not None:
            found += _portal(given, name, path / "iscsi")
        if field == "local" and not bound:
            found.append(required(path / "nodeAffinity", "Local volume requires node affinity"))
    return found if there else [*found, required(path, "must specify a volume type")]


def _fields(*fields: str) -> Rule:
    def rule(given: Object, path: Path) -> list[FieldError]:
        return [required(path / field) for field in fields if not given.get(field)]

    return rule


def _disk(field: str) -> Rule:
    def rule(given: Object, path: Path) -> list[FieldError]:
        found = [] if given.get(field) else [required(path / field)]
        part = given.get("partition") or 0
        return found if 0 <= part <= 255 else [*found, invalid(path / "partition", part, "must be between 1 and 255, inclusive")]

    return rule


def _glusterfs(given: Object, path: Path) -> list[FieldError]:
    found, namespace = _fields("endpoints", "path")(given, path), given.get("endpointsNamespace")
    if namespace == "":
        text = "if the endpointnamespace is set, it must be a valid namespace name"
        found.append(invalid(path / "endpointsNamespace", namespace, text))
    return found + (named(namespace, path / "endpointsNamespace", names.label) if namespace else [])


def _flocker(given: Object, path: Path) -> list[FieldError]:
    name, identity, found = given.get("datasetName") or "", given.get("datasetUUID") or "", []
    if not name and not identity:
        found.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and identity:
        found.append(invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    return [*found, invalid(path / "datasetName", name, "must not contain '/'")] if "/" in name else found


def _nfs(given: Object, path: Path) -> list[FieldError]:
    found, where = _fields("server", "path")(given, path), given.get("path") or ""
    return found if where.startswith("/") else [*found, invalid(path / "path", where, "must be an absolute path")]


def _quobyte(given: Object, path: Path) -> list[FieldError]:
    registry, found = given.get("registry") or "", []
    if not registry:
        found.append(required(path / "registry", REGISTRY))
    elif len(given.get("tenant") or "") >= 65:
        found.append(required(path / "tenant", "must be a UUID and may not exceed a length of 64 characters"))
    else:
        pairs = (pair.rpartition(":") for pair in registry.split(","))
        found += [invalid(path / "registry", registry, REGISTRY) for host, colon, _ in pairs if not colon or ":" in host.strip("[]")]
    return found if given.get("volume") else [*found, required(path / "volume")]


def _iscsi(given: Object, path: Path) -> list[FieldError]:
    found, target, lun = _fields("targetPortal")(given, path), given.get("iqn") or "", given.get("lun") or 0
    if not target:
        found.append(required(path / "iqn"))
    elif not _is_initiator(target):
        found.append(invalid(path / "iqn", target, "must be valid format"))
    if not 0 <= lun <= 255:
        found.append(invalid(path / "lun", lun, "must be between 0 and 255, inclusive"))
    secret = given.get("secretRef")
    if (given.get("chapAuthDiscovery") or given.get("chapAuthSession")) and secret is None:
        found.append(required(path / "secretRef"))
    if secret is not None:
        found += _fields("name")(secret, path / "secretRef")
    initiator = given.get("initiatorName")
    if initiator is not None and not _is_initiator(initiator):
        found.append(invalid(path / "initiatorname", initiator, "must be valid format"))
    return found


def _is_initiator(name: str) -> bool:
    form = INITIATORS.get(name[:3])
    return form is not None and form.fullmatch(name) is not None


def _portal(given: Object, name: str, path: Path) -> list[FieldError]:
    portal = given.get("targetPortal") or ""
    return [] if len(f"{name}:{portal}") <= PORTAL_MOST else [invalid(path / "targetportal", portal, PORTAL_WORDS)]


def _cinder(given: Object, path: Path) -> list[FieldError]:
    secret = given.get("secretRef")
    return _fields("volumeID")(given, path) + ([] if secret is None else _fields("name", "namespace")(secret, path / "secretRef"))


def _fc(given: Object, path: Path) -> list[FieldError]:
    names_, ids, lun, found = given.get("targetWWNs") or [], given.get("wwids") or [], given.get("lun"), []
    if not names_ and not ids:
        found.append(required(path / "targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if names_ and ids:
        found.append(invalid(path / "targetWWNs", names_, "targetWWNs and wwids can not be specified simultaneously"))
    if not names_:
        return found
    if lun is None:
        return [*found, required(path / "lun", "lun is required if targetWWNs is specified")]
    return found if 0 <= lun <= 255 else [*found, invalid(path / "lun", lun, "must be between 0 and 255, inclusive")]


def _flex(given: Object, path: Path) -> list[FieldError]:
    found = _fields("driver")(given, path)
    for key in given.get("options") or {}:
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io")):
            found.append(invalid((path / "options").at(key), key, "kubernetes.io and k8s.io namespaces are reserved"))
    return found


def _azure_file(given: Object, path: Path) -> list[FieldError]:
    found = _fields("secretName", "shareName")(given, path)
    return [*found, required(path / "secretNamespace")] if given.get("secretNamespace") == "" else found


def _azure_disk(given: Object, path: Path) -> list[FieldError]:
    found, kind, uri = _fields("diskName", "diskURI")(given, path), given.get("kind"), given.get("diskURI") or ""
    for field, known in (("cachingMode", CACHING), ("kind", DISKS)):
        if given.get(field) not in (None, *known):
            found.append(not_supported(path / field, given[field], known))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        found.append(not_supported(path / "diskURI", uri, (MANAGED_DISK,)))
    if kind not in (None, "Managed") and not uri.startswith("https://"):
        found.append(not_supported(path / "diskURI", uri, (BLOB_DISK,)))
    return found


def _local(given: Object, path: Path) -> list[FieldError]:
    where = given.get("path") or ""
    if not where:
        return [required(path / "path")]
    return [invalid(path / "path", where, NO_STEPS_BACK)] if ".." in where.split("/") else []


def _storageos(given: Object, path: Path) -> list[FieldError]:
    found = needed(given.get("volumeName"), path / "volumeName", names.label)
    if given.get("volumeNamespace"):
        found += named(given["volumeNamespace"], path / "volumeNamespace", names.label)
    secret = given.get("secretRef")
    return found + ([] if secret is None else _fields("name", "namespace")(secret, path / "secretRef"))


def _csi(given: Object, path: Path) -> list[FieldError]:
    found = driver_name(given.get("driver") or "", path / "driver")
    if not given.get("volumeHandle"):
        found.append(required(path / "volumeHandle"))
    for field in ("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"):
        if given.get(field) is not None:
            found += needed(given[field].get("name"), path / field / "name", names.subdomain)
            found += needed(given[field].get("namespace"), path / field / "namespace", names.label)
    return found


SOURCES: Mapping[str, Rule] = {
    "hostPath": host_path,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "glusterfs": _glusterfs,
    "flocker": _flocker,
    "nfs": _nfs,
    "rbd": _fields("monitors", "image"),
    "quobyte": _quobyte,
    "cephfs": _fields("monitors"),
    "iscsi": _iscsi,
    "cinder": _cinder,
    "fc": _fc,
    "flexVolume": _flex,
    "azureFile": _azure_file,
    "vsphereVolume": _fields("volumePath"),
    "photonPersistentDisk": _fields("pdID"),
    "portworxVolume": _fields("volumeID"),
    "azureDisk": _azure_disk,
    "scaleIO": _fields("gateway", "system", "volumeName"),
    "local": _local,
    "storageos": _storageos,
    "csi": _csi,
}
"""What a volume can lie on, in the order in which upstream looks"""
TOLD = {"cephfs": "cephFS"}
LOOKED = {"gcePersistentDisk": "persistentDisk"}
"""Sources that upstream calls otherwise in its answers: where there is one too many, and where it is wrong"""
