"""Built-in admission: what is filled in or refused because of other objects. Each plugin is one function.

Source: upstream's plugins NamespaceLifecycle, ServiceAccount, Priority, DefaultStorageClass, DefaultTolerationSeconds,
StorageObjectInUseProtection.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from moorings_core.ports.cluster import Timing
from moorings_core.ports.errors import Forbidden
from moorings_core.ports.objects import Key, Object, Resource

from . import problems
from .cache import Cache

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
ALWAYS_THERE = ("default", "kube-system", "kube-public", "kube-node-lease")
NOT_READY = "node.kubernetes.io/not-ready"
PODS = Resource("", "v1", "pods", "Pod", True)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False)


@dataclass(frozen=True, slots=True)
class Admission:
    """The plugins with what they look at."""

    cache: Cache
    timing: Timing

    def create(self, resource: Resource, obj: Object) -> None:
        """Fill in and check a new object. Raises Forbidden, NotFound."""
        self._namespace(resource, obj)
        plugin = _ON_CREATE.get((resource.group, resource.plural))
        if plugin is not None:
            plugin(self, obj)

    def update(self, resource: Resource, obj: Object) -> None:
        """Fill in what an update may not take away."""
        if (resource.group, resource.plural) == ("", "pods"):
            self._tolerations(obj["spec"])

    def delete(self, resource: Resource, key: Key) -> None:
        """Refuse deletions that would break the cluster. Raises Forbidden."""
        if (resource.group, resource.plural) == ("", "namespaces") and key.name in ALWAYS_THERE:
            raise problems.forbidden(resource, key.name, "this namespace may not be deleted")

    def _namespace(self, resource: Resource, obj: Object) -> None:
        if not resource.namespaced:
            return
        name = obj["metadata"]["namespace"]
        found = self.cache.collection("", "namespaces").get(Key("", name))
        if found is None:
            raise problems.not_found(NAMESPACES, name)
        if "deletionTimestamp" in found.object["metadata"] and resource.plural not in ("events", "leases"):
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {name} is being terminated",
                "field": "metadata.namespace",
            }
            text = f"unable to create new content in namespace {name} because it is being terminated"
            who = f'{resource.plural} "{obj["metadata"].get("name", "")}" is forbidden: {text}'
            raise Forbidden(who, details={"name": obj["metadata"].get("name", ""), "kind": resource.plural, "causes": [cause]})

    def pod(self, pod: Object) -> None:
        """Give a pod its service account, priority and tolerations."""
        self._service_account(pod)
        self._priority(pod)
        self._tolerations(pod["spec"])

    def claim(self, claim: Object) -> None:
        """Give a claim the default class and protect it from deletion while in use."""
        _add_finalizer(claim, "kubernetes.io/pvc-protection")
        if claim["spec"].get("storageClassName") is not None or "volume.beta.kubernetes.io/storage-class" in claim["metadata"].get(
            "annotations", {}
        ):
            return
        classes = self.cache.collection("storage.k8s.io", "storageclasses").select()
        defaults = [s.object for s in classes if s.object["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true"]
        if defaults:
            newest = max(defaults, key=lambda c: (c["metadata"]["creationTimestamp"], c["metadata"]["name"]))
            claim["spec"]["storageClassName"] = newest["metadata"]["name"]

    def node(self, node: Object) -> None:
        """Keep pods off a node that has never said that it is ready."""
        taints = node.setdefault("spec", {}).setdefault("taints", [])
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            taints.append({"key": NOT_READY, "effect": "NoSchedule"})

    def volume(self, volume: Object) -> None:
        """Protect a volume from deletion while bound."""
        _add_finalizer(volume, "kubernetes.io/pv-protection")

    def _service_account(self, pod: Object) -> None:
        spec, namespace = pod["spec"], pod["metadata"]["namespace"]
        if "kubernetes.io/config.mirror" in pod["metadata"].get("annotations", {}):
            return
        name = spec.setdefault("serviceAccountName", "default")
        spec["serviceAccount"] = name
        account = self.cache.collection("", "serviceaccounts").get(Key(namespace, name))
        if account is None:
            text = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
            raise problems.forbidden(PODS, pod["metadata"].get("name", ""), text)
        wanted = spec.get("automountServiceAccountToken", account.object.get("automountServiceAccountToken", True))
        if wanted:
            _mount_token(spec)

    def _priority(self, pod: Object) -> None:
        spec = pod["spec"]
        classes = self.cache.collection("scheduling.k8s.io", "priorityclasses")
        name = spec.get("priorityClassName")
        if name:
            found = classes.get(Key("", name))
            if found is None:
                raise problems.forbidden(PODS, pod["metadata"].get("name", ""), f"no PriorityClass with name {name} was found")
            chosen: Object | None = found.object
        else:
            chosen = next((s.object for s in classes.select() if s.object.get("globalDefault")), None)
        if chosen is not None:
            spec["priorityClassName"] = chosen["metadata"]["name"]
        spec["priority"] = chosen["value"] if chosen else 0
        spec["preemptionPolicy"] = (chosen or {}).get("preemptionPolicy", "PreemptLowerPriority")

    def _tolerations(self, spec: Object) -> None:
        tolerations = spec.setdefault("tolerations", [])
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            if not any(t.get("key") in (key, "", None) and t.get("effect") in ("NoExecute", "", None) for t in tolerations):
                seconds = self.timing.eviction_toleration
                tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})


_ON_CREATE: dict[tuple[str, str], Callable[[Admission, Object], None]] = {
    ("", "pods"): Admission.pod,
    ("", "nodes"): Admission.node,
    ("", "persistentvolumeclaims"): Admission.claim,
    ("", "persistentvolumes"): Admission.volume,
}


def _add_finalizer(obj: Object, finalizer: str) -> None:
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def _mount_token(spec: Object) -> None:
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    missing = [c for c in containers if not any(m.get("mountPath") == TOKEN_MOUNT for m in c.get("volumeMounts", ()))]
    if not missing:
        return
    name = f"kube-api-access-{''.join(random.choices(NAME_LETTERS, k=5))}"
    for container in missing:
        container.setdefault("volumeMounts", []).append({"name": name, "readOnly": True, "mountPath": TOKEN_MOUNT})
    token = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    authority = {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [token, authority, {"downwardAPI": {"items": [namespace]}}]
    spec.setdefault("volumes", []).append({"name": name, "projected": {"sources": sources, "defaultMode": 420}})
