"""The kinds of groupsnapshot.storage.k8s.io as CustomResourceDefinitions: snapshots of several volumes at one moment.

Fields and rules: external-snapshotter's API, version 1, which v1beta2 has, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from moorings_core.client.resources import CUSTOM_RESOURCE_DEFINITIONS
from moorings_core.ports.objects import Object, Resource

from .snapshots import BOOLEAN, FIXED, INTEGER, PARAMETERS, POLICY, TEXT, TIME, column, error, rule, structure
from .snapshots import definition as any_definition

GROUP = "groupsnapshot.storage.k8s.io"
SELECTOR: Object = {
    "type": "object",
    "properties": {
        "matchExpressions": {
            "type": "array",
            "items": structure(
                {"key": TEXT, "operator": TEXT, "values": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "atomic"}},
                required=["key", "operator"],
            ),
            "x-kubernetes-list-type": "atomic",
        },
        "matchLabels": PARAMETERS,
    },
    "x-kubernetes-map-type": "atomic",
}
definition = partial(any_definition, group=GROUP, versions=("v1", "v1beta2"), approved=1337)


def objects() -> Iterator[tuple[Resource, Object]]:
    """Yield the definitions of group snapshots, their contents and their classes."""
    for made in (_groups(), _contents(), _classes()):
        yield CUSTOM_RESOURCE_DEFINITIONS, made


def _fixed(schema: Object, message: str) -> Object:
    return {**schema, "x-kubernetes-validations": [rule("self == oldSelf", message)]}


def _one_of(first: str, second: str) -> list[Object]:
    """Return the rules that exactly one of two sources is given, and the same for ever."""
    either = f"(has(self.{first}) && !has(self.{second})) || (!has(self.{first}) && has(self.{second}))"
    return [
        *(rule(f"!has(oldSelf.{name}) || has(self.{name})", f"{name} is required once set") for name in (first, second)),
        rule(either, f"exactly one of {first} and {second} must be set"),
    ]


def _groups() -> Object:
    source = structure({"selector": _fixed(SELECTOR, "selector is immutable"), "volumeGroupSnapshotContentName": FIXED})
    source["x-kubernetes-validations"] = _one_of("selector", "volumeGroupSnapshotContentName")
    named = {
        **TEXT,
        "x-kubernetes-validations": [rule("size(self) > 0", "volumeGroupSnapshotClassName must not be the empty string when set")],
    }
    spec = structure({"source": source, "volumeGroupSnapshotClassName": named}, required=["source"])
    bound = _fixed(TEXT, "boundVolumeGroupSnapshotContentName is immutable once set")
    status = {"boundVolumeGroupSnapshotContentName": bound, "creationTime": TIME, "readyToUse": BOOLEAN, "error": error()}
    columns = [
        column("ReadyToUse", ".status.readyToUse", "boolean"),
        column("VolumeGroupSnapshotClass", ".spec.volumeGroupSnapshotClassName"),
        column("VolumeGroupSnapshotContent", ".status.boundVolumeGroupSnapshotContentName"),
        column("CreationTime", ".status.creationTime", "date"),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]
    names = {"plural": "volumegroupsnapshots", "singular": "volumegroupsnapshot", "kind": "VolumeGroupSnapshot", "shortNames": ["vgs"]}
    return definition(names, "Namespaced", {"spec": spec, "status": structure(status)}, ["spec"], columns)


def _contents() -> Object:
    texts: Object = {"type": "array", "items": TEXT}
    handles = structure({"volumeGroupSnapshotHandle": TEXT, "volumeSnapshotHandles": texts})
    handles["required"] = ["volumeGroupSnapshotHandle", "volumeSnapshotHandles"]
    source = structure(
        {
            "volumeHandles": _fixed(texts, "volumeHandles is immutable"),
            "groupSnapshotHandles": _fixed(handles, "groupSnapshotHandles is immutable"),
        }
    )
    source["x-kubernetes-validations"] = _one_of("volumeHandles", "groupSnapshotHandles")
    spec = {
        "deletionPolicy": POLICY,
        "driver": _fixed(TEXT, "driver is immutable once set"),
        "source": source,
        "volumeGroupSnapshotClassName": _fixed(TEXT, "volumeGroupSnapshotClassName is immutable once set"),
        "volumeGroupSnapshotRef": _reference(),
    }
    member = {"creationTime": INTEGER, "readyToUse": BOOLEAN, "restoreSize": INTEGER, "snapshotHandle": TEXT, "volumeHandle": TEXT}
    status = {
        "creationTime": TIME,
        "readyToUse": BOOLEAN,
        "error": error(),
        "volumeGroupSnapshotHandle": _fixed(TEXT, "volumeGroupSnapshotHandle is immutable once set"),
        "volumeSnapshotInfoList": {"type": "array", "items": structure(member)},
    }
    columns = [
        column("ReadyToUse", ".status.readyToUse", "boolean"),
        column("DeletionPolicy", ".spec.deletionPolicy"),
        column("Driver", ".spec.driver"),
        column("VolumeGroupSnapshotClass", ".spec.volumeGroupSnapshotClassName"),
        column("VolumeGroupSnapshotNamespace", ".spec.volumeGroupSnapshotRef.namespace"),
        column("VolumeGroupSnapshot", ".spec.volumeGroupSnapshotRef.name"),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]
    required = ["deletionPolicy", "driver", "source", "volumeGroupSnapshotRef"]
    names: Object = {
        "plural": "volumegroupsnapshotcontents",
        "singular": "volumegroupsnapshotcontent",
        "kind": "VolumeGroupSnapshotContent",
    }
    names |= {"shortNames": ["vgsc", "vgscs"]}
    return definition(names, "Cluster", {"spec": structure(spec, required=required), "status": structure(status)}, ["spec"], columns)


def _reference() -> Object:
    found = structure(dict.fromkeys(("apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"), TEXT))
    name, both = "volumeGroupSnapshotRef", "self.name == oldSelf.name && self.__namespace__ == oldSelf.__namespace__"
    found["x-kubernetes-map-type"] = "atomic"
    found["x-kubernetes-validations"] = [
        rule("has(self.name) && has(self.__namespace__)", f"both {name}.name and {name}.namespace must be set"),
        rule(both, f"{name}.name and {name}.namespace are immutable"),
        rule("!has(oldSelf.uid) || (has(self.uid) && self.uid == oldSelf.uid)", f"{name}.uid is immutable once set"),
    ]
    return found


def _classes() -> Object:
    names: Object = {"plural": "volumegroupsnapshotclasses", "singular": "volumegroupsnapshotclass", "kind": "VolumeGroupSnapshotClass"}
    names |= {"shortNames": ["vgsclass", "vgsclasses"]}
    columns = [
        column("Driver", ".driver"),
        column("DeletionPolicy", ".deletionPolicy"),
        column("Age", ".metadata.creationTimestamp", "date"),
    ]
    properties = {
        "deletionPolicy": _fixed(POLICY, "deletionPolicy is immutable once set"),
        "driver": _fixed(TEXT, "driver is immutable once set"),
        "parameters": _fixed(PARAMETERS, "parameters are immutable once set"),
    }
    return definition(names, "Cluster", properties, ["deletionPolicy", "driver"], columns, status=False)
