"""The kinds of snapshot.storage.k8s.io/v1 as CustomResourceDefinitions: upstream has them in no API server, and every driver wants them.

Where upstream's own definitions are there already they stay. Fields and rules: external-snapshotter's API, version 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from moorings_core.client.resources import CUSTOM_RESOURCE_DEFINITIONS
from moorings_core.ports.objects import Object, Resource

GROUP = "snapshot.storage.k8s.io"
TEXT: Object = {"type": "string"}
FIXED: Object = {**TEXT, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "Value is immutable"}]}
BOOLEAN: Object = {"type": "boolean"}
INTEGER: Object = {"type": "integer", "format": "int64"}
TIME: Object = {"type": "string", "format": "date-time"}
QUANTITY: Object = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
PARAMETERS: Object = {"type": "object", "additionalProperties": TEXT}
POLICY: Object = {"type": "string", "enum": ["Delete", "Retain"]}


def objects() -> Iterator[tuple[Resource, Object]]:
    """Yield the definitions of snapshots, their contents and their classes."""
    for definition in (_snapshots(), _contents(), _classes()):
        yield CUSTOM_RESOURCE_DEFINITIONS, definition


def _snapshots() -> Object:
    source = _object({"persistentVolumeClaimName": FIXED, "volumeSnapshotContentName": FIXED})
    source["x-kubernetes-validations"] = [
        _rule("has(self.persistentVolumeClaimName) != has(self.volumeSnapshotContentName)", "exactly one of the two sources is given"),
    ]
    spec = _object({"source": source, "volumeSnapshotClassName": TEXT}, required=["source"])
    status = {
        "boundVolumeSnapshotContentName": TEXT,
        "creationTime": TIME,
        "readyToUse": BOOLEAN,
        "restoreSize": QUANTITY,
        "error": _error(),
        "volumeGroupSnapshotName": TEXT,
    }
    columns = [
        _column("ReadyToUse", ".status.readyToUse", "boolean"),
        _column("SourcePVC", ".spec.source.persistentVolumeClaimName"),
        _column("SourceSnapshotContent", ".spec.source.volumeSnapshotContentName"),
        _column("RestoreSize", ".status.restoreSize"),
        _column("SnapshotClass", ".spec.volumeSnapshotClassName"),
        _column("SnapshotContent", ".status.boundVolumeSnapshotContentName"),
        _column("CreationTime", ".status.creationTime", "date"),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    names = {"plural": "volumesnapshots", "singular": "volumesnapshot", "kind": "VolumeSnapshot", "shortNames": ["vs"]}
    return _definition(names, "Namespaced", {"spec": spec, "status": _object(status)}, ["spec"], columns)


def _contents() -> Object:
    source = _object({"volumeHandle": FIXED, "snapshotHandle": FIXED})
    source["x-kubernetes-validations"] = [
        _rule("has(self.volumeHandle) != has(self.snapshotHandle)", "exactly one of the two sources is given"),
    ]
    reference = _object(dict.fromkeys(("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"), TEXT))
    spec = {
        "deletionPolicy": POLICY,
        "driver": TEXT,
        "source": source,
        "sourceVolumeMode": TEXT,
        "volumeSnapshotClassName": TEXT,
        "volumeSnapshotRef": reference,
    }
    status = {
        "creationTime": INTEGER,
        "readyToUse": BOOLEAN,
        "restoreSize": INTEGER | {"minimum": 0},
        "snapshotHandle": TEXT,
        "error": _error(),
        "volumeGroupSnapshotHandle": TEXT,
    }
    columns = [
        _column("ReadyToUse", ".status.readyToUse", "boolean"),
        _column("RestoreSize", ".status.restoreSize", "integer"),
        _column("DeletionPolicy", ".spec.deletionPolicy"),
        _column("Driver", ".spec.driver"),
        _column("VolumeSnapshotClass", ".spec.volumeSnapshotClassName"),
        _column("VolumeSnapshot", ".spec.volumeSnapshotRef.name"),
        _column("VolumeSnapshotNamespace", ".spec.volumeSnapshotRef.namespace"),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    required = ["deletionPolicy", "driver", "source", "volumeSnapshotRef"]
    names = {
        "plural": "volumesnapshotcontents",
        "singular": "volumesnapshotcontent",
        "kind": "VolumeSnapshotContent",
        "shortNames": ["vsc", "vscs"],
    }
    return _definition(names, "Cluster", {"spec": _object(spec, required=required), "status": _object(status)}, ["spec"], columns)


def _classes() -> Object:
    names = {
        "plural": "volumesnapshotclasses",
        "singular": "volumesnapshotclass",
        "kind": "VolumeSnapshotClass",
        "shortNames": ["vsclass", "vsclasses"],
    }
    columns = [
        _column("Driver", ".driver"),
        _column("DeletionPolicy", ".deletionPolicy"),
        _column("Age", ".metadata.creationTimestamp", "date"),
    ]
    properties = {"deletionPolicy": POLICY, "driver": TEXT, "parameters": PARAMETERS}
    return _definition(names, "Cluster", properties, ["deletionPolicy", "driver"], columns, status=False)


def _definition(
    names: Object, scope: str, properties: Object, required: list[str], columns: list[Object], *, status: bool = True
) -> Object:
    meta = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}}
    version: Object = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _object({**meta, **properties}, required=required)},
        "additionalPrinterColumns": columns,
    }
    if status:
        version["subresources"] = {"status": {}}
    full = {**names, "listKind": f"{names['kind']}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names['plural']}.{GROUP}",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-csi/external-snapshotter/pull/814"},
        },
        "spec": {"group": GROUP, "names": full, "scope": scope, "versions": [version]},
    }


def _object(properties: Object, *, required: list[str] | None = None) -> Object:
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _error() -> Object:
    return _object({"message": TEXT, "time": TIME})


def _rule(rule: str, message: str) -> Object:
    return {"rule": rule, "message": message}


def _column(name: str, path: str, kind: str = "string") -> Object:
    return {"name": name, "jsonPath": path, "type": kind}
