"""The kinds of snapshot.storage.k8s.io/v1 as CustomResourceDefinitions: upstream has them in no API server, and every driver wants them.

Where upstream's own definitions are there already they stay. Fields and rules: external-snapshotter's API, version 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    source = structure({"persistentVolumeClaimName": FIXED, "volumeSnapshotContentName": FIXED})
    source["x-kubernetes-validations"] = [
        rule("has(self.persistentVolumeClaimName) != has(self.volumeSnapshotContentName)", "exactly one of the two sources is given"),
    ]
    spec = structure({"source": source, "volumeSnapshotClassName": TEXT}, required=["source"])
    status = {
        "boundVolumeSnapshotContentName": TEXT,
        "creationTime": TIME,
        "readyToUse": BOOLEAN,
        "restoreSize": QUANTITY,
        "error": error(),
        "volumeGroupSnapshotName": TEXT,
    }
    columns = [
        column("ReadyToUse", ".status.readyToUse", "boolean"),
        column("SourcePVC", ".spec.source.persistentVolumeClaimName"),
        column("SourceSnapshotContent", ".spec.source.volumeSnapshotContentName"),
        column("RestoreSize", ".status.restoreSize"),
        column("SnapshotClass", ".spec.volumeSnapshotClassName"),
        column("SnapshotContent", ".status.boundVolumeSnapshotContentName"),
        column("CreationTime", ".status.creationTime", "date"),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]
    names = {"plural": "volumesnapshots", "singular": "volumesnapshot", "kind": "VolumeSnapshot", "shortNames": ["vs"]}
    return definition(names, "Namespaced", {"spec": spec, "status": structure(status)}, ["spec"], columns)


def _contents() -> Object:
    source = structure({"volumeHandle": FIXED, "snapshotHandle": FIXED})
    source["x-kubernetes-validations"] = [
        rule("has(self.volumeHandle) != has(self.snapshotHandle)", "exactly one of the two sources is given"),
    ]
    reference = structure(dict.fromkeys(("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"), TEXT))
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
        "error": error(),
        "volumeGroupSnapshotHandle": TEXT,
    }
    columns = [
        column("ReadyToUse", ".status.readyToUse", "boolean"),
        column("RestoreSize", ".status.restoreSize", "integer"),
        column("DeletionPolicy", ".spec.deletionPolicy"),
        column("Driver", ".spec.driver"),
        column("VolumeSnapshotClass", ".spec.volumeSnapshotClassName"),
        column("VolumeSnapshot", ".spec.volumeSnapshotRef.name"),
        column("VolumeSnapshotNamespace", ".spec.volumeSnapshotRef.namespace"),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]
    required = ["deletionPolicy", "driver", "source", "volumeSnapshotRef"]
    names = {
        "plural": "volumesnapshotcontents",
        "singular": "volumesnapshotcontent",
        "kind": "VolumeSnapshotContent",
        "shortNames": ["vsc", "vscs"],
    }
    return definition(names, "Cluster", {"spec": structure(spec, required=required), "status": structure(status)}, ["spec"], columns)


def _classes() -> Object:
    names = {
        "plural": "volumesnapshotclasses",
        "singular": "volumesnapshotclass",
        "kind": "VolumeSnapshotClass",
        "shortNames": ["vsclass", "vsclasses"],
    }
    columns = [
        column("Driver", ".driver"),
        column("DeletionPolicy", ".deletionPolicy"),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]
    properties = {"deletionPolicy": POLICY, "driver": TEXT, "parameters": PARAMETERS}
    return definition(names, "Cluster", properties, ["deletionPolicy", "driver"], columns, status=False)


def definition(
    names: Object,
    scope: str,
    properties: Object,
    required: list[str],
    columns: list[Object],
    *,
    status: bool = True,
    group: str = GROUP,
    versions: Sequence[str] = ("v1",),
    approved: int = 814,
) -> Object:
    """Return the definition of a kind. versions: of one schema, stored as the first; approved: upstream's pull request of the kind."""
    meta = {"apiVersion": TEXT, "kind": TEXT, "metadata": {"type": "object"}}
    version: Object = {
        "served": True,
        "schema": {"openAPIV3Schema": structure({**meta, **properties}, required=required)},
        "additionalPrinterColumns": columns,
    }
    if status:
        version["subresources"] = {"status": {}}
    served = [{"name": name, "storage": name == versions[0], **version} for name in versions]
    full = {**names, "listKind": f"{names['kind']}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names['plural']}.{group}",
            "annotations": {"api-approved.kubernetes.io": f"https://github.com/kubernetes-csi/external-snapshotter/pull/{approved}"},
        },
        "spec": {"group": group, "names": full, "scope": scope, "versions": served},
    }


def structure(properties: Object, *, required: list[str] | None = None) -> Object:
    """Return the schema of an object with these fields."""
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def error() -> Object:
    """Return the schema of what a snapshot says of its failure."""
    return structure({"message": TEXT, "time": TIME})


def rule(rule: str, message: str) -> Object:
    """Return a rule in CEL with what is said where it is broken."""
    return {"rule": rule, "message": message}


def column(name: str, path: str, kind: str = "string") -> Object:
    """Return a column of kubectl get."""
    return {"name": name, "jsonPath": path, "type": kind}
