"""A cache that tests fill by hand, and requests to ask about."""

from __future__ import annotations

import itertools

from moorings_core.api.access.attributes import Attributes
from moorings_core.api.cache import Cache, Change, encode, stored
from moorings_core.api.context import User
from moorings_core.ports.objects import key_of
from moorings_core.store.memory import MemoryStore

RBAC = "rbac.authorization.k8s.io"
PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Pod": "pods",
    "Node": "nodes",
    "ServiceAccount": "serviceaccounts",
    "Secret": "secrets",
    "PersistentVolume": "persistentvolumes",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "VolumeAttachment": "volumeattachments",
    "CSIDriver": "csidrivers",
    "CSINode": "csinodes",
    "StorageClass": "storageclasses",
    "VolumeSnapshotClass": "volumesnapshotclasses",
    "VolumeSnapshotContent": "volumesnapshotcontents",
}
SNAPSHOT = "snapshot.storage.k8s.io"
GROUPS = dict.fromkeys(("VolumeAttachment", "CSIDriver", "CSINode", "StorageClass"), "storage.k8s.io") | dict.fromkeys(
    ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"), RBAC
)
GROUPS |= dict.fromkeys(("VolumeSnapshotClass", "VolumeSnapshotContent"), SNAPSHOT)


class World:
    """A cache without a server."""

    def __init__(self) -> None:
        self.cache = Cache(MemoryStore())
        self._revisions = itertools.count(1)

    def put(self, *objects):
        """Create objects or replace them."""
        for obj in objects:
            collection, key, revision = self._place(obj), key_of(obj), next(self._revisions)
            collection.apply(Change(key, revision, collection.get(key), stored(encode(obj), revision)))

    def remove(self, obj):
        """Delete an object."""
        collection, key = self._place(obj), key_of(obj)
        collection.apply(Change(key, next(self._revisions), collection.get(key), None, obj))

    def _place(self, obj):
        return self.cache.collection(GROUPS.get(obj["kind"], ""), PLURALS[obj["kind"]])


def obj(kind, name, namespace="", **rest):
    metadata = {"name": name, "uid": f"uid-{name}"} | ({"namespace": namespace} if namespace else {})
    return {"kind": kind, "metadata": metadata, **rest}


def agent(node):
    return User(f"system:node:{node}", ("system:nodes", "system:authenticated"))


def ask(user, verb, plural, name="", namespace="", group="", subresource="", **rest):
    return Attributes(user, verb, group, plural, subresource, namespace, name, **rest)
