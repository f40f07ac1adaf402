"""What a node's agent may do: the fixed rules of every node, and of secrets and the like what the pods on it refer to.

Nothing is kept but which pods are on which node; what they refer to is read from them when it is asked for.
Source: upstream's node authorizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from moorings_core.api.cache import Cache, Change
from moorings_core.api.context import User
from moorings_core.ports.objects import Key, Object
from moorings_core.registry.pod_references import claims, config_maps, secrets

from .attributes import Attributes, Decision
from .driver_secrets import secrets_of_drivers
from .rules import Rule

NODES, PREFIX = "system:nodes", "system:node:"
LEASES = "kube-node-lease"
MIRROR = "kubernetes.io/config.mirror"
ALLOWED = Decision(True)
READ = ("get", "list", "watch")
LEASE_VERBS = ("get", "create", "update", "patch", "delete")


def node_of(user: User) -> str | None:
    """Return the node that a user is the agent of; "" for one of the group that names none, None for everybody else."""
    if NODES not in user.groups or not user.name.startswith(PREFIX):
        return None
    return user.name[len(PREFIX) :]


class NodeAuthorizer:
    """The authorizer. rules: what every node may do to what is not looked at here. It follows the cache from its first question on."""

    def __init__(self, cache: Cache, rules: Iterable[Rule]) -> None:
        self._cache, self._rules = cache, tuple(rules)
        self._pods: dict[str, dict[Key, Object]] = {}
        self._following = False

    def decide(self, asked: Attributes) -> Decision:
        """Return whether a node may; no opinion about anybody else."""
        node = node_of(asked.user)
        if node is None:
            return Decision(False)
        if not node:
            return Decision(False, f'unknown node for user "{asked.user.name}"')
        decide = _BY_RESOURCE.get((asked.group, asked.plural)) if not asked.path else None
        if decide is not None:
            why = decide(self, node, asked)
            return ALLOWED if why is None else Decision(False, why)
        return Decision(any(rule.allows(asked) for rule in self._rules))

    def _readable(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in READ:
            return "can only read resources of this type"
        if asked.subresource:
            return "cannot read subresource"
        if not asked.namespace:
            return "can only read namespaced object of this type"
        return self._related(node, asked)

    def _gettable(self, node: str, asked: Attributes) -> str | None:
        if asked.verb != "get":
            return "can only get individual resources of this type"
        return "cannot get subresource" if asked.subresource else self._related(node, asked)

    def _claim(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource != "status":
            return self._gettable(node, asked)
        return self._related(node, asked) if asked.verb in ("update", "patch") else "can only get/update/patch this type"

    def _account(self, node: str, asked: Attributes) -> str | None:
        if asked.verb == "get" and not asked.subresource:
            return self._related(node, asked)
        if asked.verb != "create" or not asked.name:
            return "can only create tokens for individual service accounts"
        if asked.subresource != "token":
            return "can only create token subresource of serviceaccount"
        return self._related(node, asked)

    def _lease(self, node: str, asked: Attributes) -> str | None:
        if asked.verb not in LEASE_VERBS:
            return "can only get, create, update, patch, or delete a node lease"
        if asked.namespace != LEASES:
            return f'can only access leases in the "{LEASES}" system namespace'
        if asked.verb != "create" and asked.name != node:
            return "can only access node lease with the same name as the requesting node"
        return None

    def _csi_node(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource:
            return "cannot authorize CSINode subresources"
        if asked.verb not in LEASE_VERBS:
            return "can only get, create, update, patch, or delete a CSINode"
        if asked.verb != "create" and asked.name != node:
            return "can only access CSINode with the same name as the requesting node"
        return None

    def _slice(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource:
            return "cannot authorize ResourceSlice subresources"
        if asked.verb == "create":
            return None
        if asked.verb in ("get", "update", "patch", "delete"):
            return self._related(node, asked)
        if asked.fields.requires("spec.nodeName") == node:
            return None
        return "can only list/watch/deletecollection resourceslices with nodeName field selector"

    def _certificate(self, node: str, asked: Attributes) -> str | None:
        if asked.subresource:
            return "nodes may not access the status subresource of PodCertificateRequests"
        if asked.verb == "create" or (asked.verb in ("list", "watch") and asked.fields.requires("spec.nodeName") == node):
            return None
        if asked.verb in ("list", "watch"):
            return "can only list/watch podcertificaterequests with nodeName field selector"
        return self._related(node, asked) if asked.verb == "get" else f"nodes may not {asked.verb} podcertificaterequests"

    def _node(self, node: str, asked: Attributes) -> str | None:
        match asked.subresource, asked.verb:
            case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
                return None
            case "", "get" | "list" | "watch" if asked.name == node:
                return None
            case "", "get" | "list" | "watch" if not asked.name:
                return f"node '{node}' cannot read all nodes, only its own Node object"
            case "", "get" | "list" | "watch":
                return f"node '{node}' cannot read '{asked.name}', only its own Node object"
        return ""

    def _pod(self, node: str, asked: Attributes) -> str | None:
        match asked.subresource, asked.verb:
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return None
            case "", "get":
                return self._gettable(node, asked)
            case "", "list" | "watch" if asked.fields.requires("spec.nodeName") == node:
                return None
            case "", "list" | "watch" if asked.name:
                return self._related(node, asked)
            case "", "list" | "watch":
                return "can only list/watch pods with spec.nodeName field selector"
        return ""

    def _related(self, node: str, asked: Attributes) -> str | None:
        if not asked.name:
            return "No Object name found"
        if self._is_related(node, asked.plural, Key(asked.namespace, asked.name)):
            return None
        return f"no relationship found between node '{node}' and this object"

    def _is_related(self, node: str, plural: str, key: Key) -> bool:
        match plural:
            case "pods":
                return key in self._on(node)
            case "persistentvolumes":
                claim = self._spec("", plural, key).get("claimRef") or {}
                return self._is_related(node, "persistentvolumeclaims", Key(claim.get("namespace", ""), claim.get("name", "")))
            case "volumeattachments":
                return bool(self._spec("storage.k8s.io", plural, key).get("nodeName") == node)
            case "resourceslices":
                return bool(self._spec("resource.k8s.io", plural, key).get("nodeName") == node)
            case "podcertificaterequests":
                return bool(self._spec("certificates.k8s.io", plural, key).get("nodeName") == node)
        pods = [pod for place, pod in self._on(node).items() if place.namespace == key.namespace and not _is_mirror(pod)]
        if any(key.name in _REFERENCES[plural](pod) for pod in pods):
            return True
        if plural == "secrets" and any(key in self._secrets_of_volumes(pod) for pod in pods):
            return True
        return plural == "secrets" and key in secrets_of_drivers(self._cache, node)

    def _secrets_of_volumes(self, pod: Object) -> Iterator[Key]:
        """Yield the secrets that a node needs to mount the volumes behind a pod's claims."""
        for name in claims(pod):
            claim = self._spec("", "persistentvolumeclaims", Key(pod["metadata"]["namespace"], name))
            csi = self._spec("", "persistentvolumes", Key("", claim.get("volumeName") or "")).get("csi") or {}
            for field in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
                reference = csi.get(field) or {}
                yield Key(reference.get("namespace", ""), reference.get("name", ""))

    def _spec(self, group: str, plural: str, key: Key) -> Object:
        stored = self._cache.collection(group, plural).get(key)
        return {} if stored is None else stored.object.get("spec") or {}

    def _on(self, node: str) -> dict[Key, Object]:
        if not self._following:
            self._following = True
            collection = self._cache.collection("", "pods")
            for stored in collection.select():
                self._put(stored.object)
            collection.listeners[self._move] = None
        return self._pods.get(node, {})

    def _move(self, change: Change) -> None:
        if change.old is not None:
            self._pods.get(change.nodes[0], {}).pop(change.key, None)
        if change.new is not None:
            self._put(change.new.object)

    def _put(self, pod: Object) -> None:
        if node := pod["spec"].get("nodeName"):
            self._pods.setdefault(node, {})[Key(pod["metadata"]["namespace"], pod["metadata"]["name"])] = pod


Check = Callable[[NodeAuthorizer, str, Attributes], "str | None"]
"""Returns None where the node may, and why not otherwise"""
_BY_RESOURCE: dict[tuple[str, str], Check] = {
    ("", "secrets"): NodeAuthorizer._readable,
    ("", "configmaps"): NodeAuthorizer._readable,
    ("", "persistentvolumeclaims"): NodeAuthorizer._claim,
    ("", "persistentvolumes"): NodeAuthorizer._gettable,
    ("resource.k8s.io", "resourceclaims"): NodeAuthorizer._gettable,
    ("storage.k8s.io", "volumeattachments"): NodeAuthorizer._gettable,
    ("", "serviceaccounts"): NodeAuthorizer._account,
    ("coordination.k8s.io", "leases"): NodeAuthorizer._lease,
    ("storage.k8s.io", "csinodes"): NodeAuthorizer._csi_node,
    ("resource.k8s.io", "resourceslices"): NodeAuthorizer._slice,
    ("certificates.k8s.io", "podcertificaterequests"): NodeAuthorizer._certificate,
    ("", "nodes"): NodeAuthorizer._node,
    ("", "pods"): NodeAuthorizer._pod,
}


def _accounts(pod: Object) -> set[str]:
    return {pod["spec"].get("serviceAccountName", "")} - {""}


def _resource_claims(pod: Object) -> set[str]:
    named = {claim.get("resourceClaimName", "") for claim in pod["spec"].get("resourceClaims") or ()}
    made = {claim.get("resourceClaimName") or "" for claim in (pod.get("status") or {}).get("resourceClaimStatuses") or ()}
    extended = ((pod.get("status") or {}).get("extendedResourceClaimStatus") or {}).get("resourceClaimName", "")
    return (named | made | {extended}) - {""}


_REFERENCES: dict[str, Callable[[Object], set[str]]] = {
    "secrets": secrets,
    "configmaps": config_maps,
    "persistentvolumeclaims": claims,
    "serviceaccounts": _accounts,
    "resourceclaims": _resource_claims,
}


def _is_mirror(pod: Object) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})
