"""Which secrets a CSI driver is given, as classes name them: csi.storage.k8s.io/KIND-secret-name and -namespace, with templates.

In a name ${pv.name}, ${pvc.namespace}, ${pvc.name} and ${pvc.annotations['KEY']} stand for what they say, in a namespace only the
first two. Source: external-provisioner, getSecretReference; external-snapshotter, GetSecretReference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from moorings_core.ports.objects import Key, Object

PREFIX = "csi.storage.k8s.io/"
PROVISIONER, SNAPSHOTTER, GROUP_SNAPSHOTTER = "provisioner", "snapshotter", "group-snapshotter"
SNAPSHOTTER_LIST = "snapshotter-list"
"""What a driver is told when it is asked for one snapshot; not kept anywhere, but found by the class each time"""
IN_NAMESPACES = (
    "pv.name",
    "pvc.namespace",
    "volumesnapshotcontent.name",
    "volumesnapshot.namespace",
    "volumegroupsnapshotcontent.name",
    "volumegroupsnapshot.namespace",
)
"""The words that may stand in the template of a namespace"""
OF_VOLUMES = {
    "controller-publish": "controllerPublishSecretRef",
    "node-stage": "nodeStageSecretRef",
    "node-publish": "nodePublishSecretRef",
    "controller-expand": "controllerExpandSecretRef",
    "node-expand": "nodeExpandSecretRef",
}
"""Kind to the field of a volume's source that keeps it"""
DELETION = {
    "PersistentVolume": "volume.kubernetes.io/provisioner-deletion-secret-",
    "VolumeSnapshotContent": "snapshot.storage.kubernetes.io/deletion-secret-",
    "VolumeGroupSnapshotContent": "groupsnapshot.storage.kubernetes.io/deletion-secret-",
}
"""What is to be deleted keeps its secret in annotations: this with "name" and "namespace"."""
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def reference(kind: str, parameters: Mapping[str, str], words: Mapping[str, str]) -> Key | None:
    """Return the secret of a kind that a class' parameters name, None where they name none. Raises ValueError with what is wrong.

    words: what may stand in templates, e.g. {"pvc.name": "data"}.
    """
    name, namespace = (parameters.get(f"{PREFIX}{kind}-secret-{part}") for part in ("name", "namespace"))
    if not name and not namespace:
        return None
    if not name or not namespace:
        raise ValueError(f"only one of name and namespace of the {kind} secret is given: both must be")
    places = {word: value for word, value in words.items() if word in IN_NAMESPACES}
    found = Key(_filled(namespace, places, kind), _filled(name, words, kind))
    if not _LABEL.fullmatch(found.namespace) or not _SUBDOMAIN.fullmatch(found.name):
        raise ValueError(f"the {kind} secret {found} has no name that a secret can have")
    return found


def of_claim(kind: str, parameters: Mapping[str, str], claim: Object) -> Key | None:
    """Return the secret of a kind for the volume of a claim. Raises ValueError."""
    return reference(kind, parameters, words_of(claim))


def words_of(claim: Object) -> dict[str, str]:
    """Return what templates may say of a claim and its volume."""
    metadata = claim["metadata"]
    words = {"pv.name": f"pvc-{metadata['uid']}", "pvc.name": metadata["name"], "pvc.namespace": metadata["namespace"]}
    return words | {f"pvc.annotations['{key}']": value for key, value in (metadata.get("annotations") or {}).items()}


def deletion_annotations(kind: str, secret: Key | None) -> dict[str, str]:
    """Return the annotations by which an object of a kind remembers the secret of its deletion."""
    if secret is None:
        return {}
    prefix = DELETION[kind]
    return {f"{prefix}name": secret.name, f"{prefix}namespace": secret.namespace}


def for_deletion(kind: str, obj: Object) -> Key | None:
    """Return the secret that the deletion of what an object stands for takes."""
    annotations, prefix = obj["metadata"].get("annotations") or {}, DELETION[kind]
    name = annotations.get(f"{prefix}name")
    return Key(annotations.get(f"{prefix}namespace", ""), name) if name else None


def for_listing(content: Object, parameters: Mapping[str, str]) -> Key | None:
    """Return the secret for asking about the snapshot of a content, by the parameters of its class. Raises ValueError."""
    return reference(SNAPSHOTTER_LIST, parameters, {"volumesnapshotcontent.name": content["metadata"]["name"]})


def of_volume(volume: Object, field: str) -> Key | None:
    """Return the secret that a field of a PersistentVolume's source names."""
    found = (volume["spec"].get("csi") or {}).get(field) or {}
    return Key(found.get("namespace", ""), found["name"]) if found.get("name") else None


def named_by(volume: Object) -> Iterator[Key]:
    """Yield every secret that a PersistentVolume names."""
    for field in OF_VOLUMES.values():
        secret = of_volume(volume, field)
        if secret is not None:
            yield secret
    secret = for_deletion("PersistentVolume", volume)
    if secret is not None:
        yield secret


def _filled(template: str, words: Mapping[str, str], kind: str) -> str:
    def word(match: re.Match[str]) -> str:
        if match[1] not in words:
            raise ValueError(f"the {kind} secret's template {template!r} has {match[0]}, which says nothing here")
        return words[match[1]]

    return _VARIABLE.sub(word, template)
