"""What an agent may write is narrowed to its own node and the pods on it. Source: upstream's NodeRestriction admission plugin.

Beyond upstream a node may put its own marks on claims it provisions for, and take part in elections of nodes in kube-system: parts
of the node that share the agent's credentials do that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moorings_core.api.cache import Cache
from moorings_core.api.context import User
from moorings_core.ports.objects import Key, Object, Resource

from .attributes import Attributes, Authorizer, forbidden, quoted
from .node import LEASES, MIRROR, NODES, PREFIX

ELECTIONS = ("kube-system", "metal-")
"""Namespace and beginning of the names of leases by which nodes choose one of them"""
SELECTED_NODE, INTENT = "volume.kubernetes.io/selected-node", "provisioning.moorings.dev/volume"
OWN_LABELS = {
    *(f"{prefix}kubernetes.io/{name}" for prefix in ("", "beta.") for name in ("os", "arch")),
    "kubernetes.io/hostname",
    *(f"{prefix}/{part}" for prefix in ("topology.kubernetes.io", "failure-domain.beta.kubernetes.io") for part in ("zone", "region")),
    *(f"{prefix}.kubernetes.io/instance-type" for prefix in ("node", "beta")),
}
AUDIENCE_VERB = "request-serviceaccounts-token-audience"
RESERVED = "node-restriction.kubernetes.io"
SERVER_KEPT = ("managedFields", "resourceVersion", "generation")


@dataclass(frozen=True, slots=True)
class NodeRestriction:
    """The guard of one request of a node. access: who is asked about audiences that a pod does not name; None: nobody."""

    cache: Cache
    node: str
    access: Authorizer | None = None

    def __call__(self, operation: str, resource: Resource, subresource: str, new: Object | None, old: Object | None) -> None:
        """Refuse what is not the node's own. Raises Forbidden."""
        check = _CHECKS.get((resource.group, resource.plural))
        obj = new if new is not None else old
        why = check(self, operation, subresource, new or {}, old or {}) if check and obj is not None else ""
        if why and obj is not None:
            raise forbidden(resource.group, resource.plural, obj["metadata"].get("name", ""), why)

    def _pod(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        who = f"node {quoted(self.node)}"
        match subresource, operation:
            case "", "CREATE":
                return self._mirror_pod(new)
            case "", "DELETE":
                return "" if self._is_on(old) else f"{who} can only delete pods with spec.nodeName set to itself"
            case "status", "UPDATE" if not self._is_on(old):
                return f"{who} can only update pod status for pods with spec.nodeName set to itself"
            case "status", "UPDATE":
                return self._pod_status(new, old)
            case "eviction", "CREATE":
                return "" if self._is_on(old) else f"node {self.node} can only evict pods with spec.nodeName set to itself"
            case "", _:
                return f'unexpected operation "{operation}", {who} can only create and delete mirror pods'
        return f"unexpected pod subresource {quoted(subresource)}, only 'status' and 'eviction' are allowed"

    def _mirror_pod(self, pod: Object) -> str:
        who, metadata, spec = f"node {quoted(self.node)}", pod["metadata"], pod.get("spec") or {}
        if MIRROR not in (metadata.get("annotations") or {}):
            return f'pod does not have "{MIRROR}" annotation, {who} can only create mirror pods'
        if spec.get("nodeName") != self.node:
            return f"{who} can only create pods with spec.nodeName set to itself"
        owners = metadata.get("ownerReferences") or []
        if len(owners) > 1:
            return f"{who} can only create pods with a single owner reference set to itself"
        if not owners or (owners[0].get("apiVersion"), owners[0].get("kind"), owners[0].get("name")) != ("v1", "Node", self.node):
            return f"{who} can only create pods with an owner reference set to itself"
        if not owners[0].get("controller"):
            return f"{who} can only create pods with a controller owner reference set to itself"
        if owners[0].get("blockOwnerDeletion"):
            return f"{who} must not set blockOwnerDeletion on an owner reference"
        stored = self.cache.collection("", "nodes").get(Key("", self.node))
        uid = stored.object["metadata"]["uid"] if stored else ""
        if owners[0].get("uid") != uid:
            return f"node {self.node} UID mismatch: expected {owners[0].get('uid')} got {uid}"
        refers = _refers(spec)
        return f"{who} can not create pods that reference {refers}" if refers else ""

    def _pod_status(self, new: Object, old: Object) -> str:
        if (new["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {}):
            return f"node {quoted(self.node)} cannot update labels through pod status"
        given, had = new.get("status") or {}, old.get("status") or {}
        for part, words in (
            ("resourceClaimStatuses", "resource claim statues"),
            ("extendedResourceClaimStatus", "extended resource claim status"),
            ("nodeAllocatableResourceClaimStatuses", "node allocatable resource claim statuses"),
        ):
            if (given.get(part) or None) != (had.get(part) or None):
                return f"node {quoted(self.node)} cannot update {words}"
        return ""

    def _is_on(self, pod: Object) -> bool:
        return bool((pod.get("spec") or {}).get("nodeName") == self.node)

    def _node(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        who, obj = f"node {quoted(self.node)}", new or old
        if obj["metadata"].get("name") != self.node:
            return f"{who} is not allowed to modify node {quoted(obj['metadata'].get('name', ''))}"
        if operation == "DELETE":
            return ""
        metadata, before = new["metadata"], old.get("metadata", {})
        if operation == "UPDATE":
            if ((new.get("spec") or {}).get("taints") or []) != ((old.get("spec") or {}).get("taints") or []):
                return f"{who} is not allowed to modify taints"
            if (metadata.get("ownerReferences") or []) != (before.get("ownerReferences") or []):
                return f"{who} is not allowed to modify ownerReferences"
        labels, had = metadata.get("labels") or {}, before.get("labels") or {}
        changed = sorted(k for k in {*labels, *had} if labels.get(k) != had.get(k) and _is_reserved(k))
        if not changed:
            return ""
        listed = ", ".join(changed)
        return (
            f"{who} is not allowed to set the following labels: {listed}"
            if operation == "CREATE"
            else f"is not allowed to modify labels: {listed}"
        )

    def _claim(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        if operation != "UPDATE":
            return "may only update PVC status"
        if subresource == "status":
            plain = [_without(claim, "status", CLAIM_STATUS) for claim in (new, old)]
            if plain[0] == plain[1]:
                return ""
            return f"node {quoted(self.node)} is not allowed to update fields other than status.quantity and status.conditions"
        selected = {(claim["metadata"].get("annotations") or {}).get(SELECTED_NODE) for claim in (new, old)}
        if selected <= {None, self.node} and _unmarked(new) == _unmarked(old):
            return ""
        return "may only update PVC status"

    def _account(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        if (operation, subresource) != ("CREATE", "token"):
            return ""
        reference = (new.get("spec") or {}).get("boundObjectRef") or {}
        if (reference.get("apiVersion"), reference.get("kind")) != ("v1", "Pod") or not reference.get("name"):
            return "node requested token not bound to a pod"
        if not reference.get("uid"):
            return "node requested token with a pod binding without a uid"
        stored = self.cache.collection("", "pods").get(Key(new["metadata"].get("namespace", ""), reference["name"]))
        if stored is None:
            return f'pods "{reference["name"]}" not found'
        if stored.object["metadata"]["uid"] != reference["uid"]:
            text = f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            return text + "The object might have been deleted and then recreated"
        if not self._is_on(stored.object):
            return "node requested token bound to a pod scheduled on a different node"
        return self._audience(new, stored.object)

    def _audience(self, request: Object, pod: Object) -> str:
        audiences = request["spec"].get("audiences") or [""]
        if len(audiences) > 1:
            return "node may only request 0 or 1 audiences"
        sources = [s for v in pod["spec"].get("volumes") or () for s in (v.get("projected") or {}).get("sources") or ()]
        tokens = [s["serviceAccountToken"] for s in sources if s.get("serviceAccountToken") is not None]
        if audiences[0] in {token.get("audience", "") for token in tokens} | self._of_drivers(pod) or self._is_granted(
            request, audiences[0]
        ):
            return ""
        return f"system:node:{self.node} is not authorized to request tokens for audience {quoted(audiences[0])}"

    def _is_granted(self, request: Object, audience: str) -> bool:
        """Whether nodes have been given the right to ask for tokens of an account for an audience."""
        if self.access is None:
            return False
        user, metadata = User(f"{PREFIX}{self.node}", (NODES, "system:authenticated")), request["metadata"]
        account, namespace = metadata.get("name", ""), metadata.get("namespace", "")
        return self.access.decide(Attributes(user, AUDIENCE_VERB, "", audience, namespace=namespace, name=account)).allowed

    def _of_drivers(self, pod: Object) -> set[str]:
        """Return the audiences that the drivers of a pod's volumes ask for."""
        drivers = set()
        for volume in pod["spec"].get("volumes") or ():
            drivers.add((volume.get("csi") or {}).get("driver", ""))
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
            if volume.get("ephemeral"):
                name = f"{pod['metadata']['name']}-{volume['name']}"
            claim = self._spec("", "persistentvolumeclaims", Key(pod["metadata"]["namespace"], name))
            drivers.add((self._spec("", "persistentvolumes", Key("", claim.get("volumeName") or "")).get("csi") or {}).get("driver", ""))
        requests = [r for d in drivers for r in self._spec("storage.k8s.io", "csidrivers", Key("", d)).get("tokenRequests") or ()]
        return {request.get("audience", "") for request in requests}

    def _spec(self, group: str, plural: str, key: Key) -> Object:
        stored = self.cache.collection(group, plural).get(key)
        return {} if stored is None else stored.object.get("spec") or {}

    def _lease(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        metadata = (new or old)["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        if namespace == ELECTIONS[0] and name.startswith(ELECTIONS[1]):
            return ""
        if namespace != LEASES:
            return f'can only access leases in the "{LEASES}" system namespace'
        return "" if name == self.node else "can only access node lease with the same name as the requesting node"

    def _csi_node(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        name = (new or old)["metadata"].get("name")
        return "" if name == self.node else "can only access CSINode with the same name as the requesting node"

    def _slice(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        if ((new or old).get("spec") or {}).get("nodeName") == self.node:
            return ""
        return f"can only {operation.lower()} ResourceSlice with the same NodeName as the requesting node"

    def _certificate(self, operation: str, subresource: str, new: Object, old: Object) -> str:
        if operation != "CREATE" or subresource:
            return f"unexpected operation {operation}" if operation != "CREATE" else f"unexpected subresource {subresource}"
        spec, namespace = new.get("spec") or {}, new["metadata"].get("namespace", "")
        if spec.get("nodeName") != self.node:
            given = quoted(spec.get("nodeName", ""))
            return f"PodCertificateRequest.Spec.NodeName={given}, which is not the requesting node {quoted(self.node)}"
        pod = self.cache.collection("", "pods").get(Key(namespace, spec.get("podName", "")))
        if pod is None or not self._is_on(pod.object):
            return f"pod {quoted(spec.get('podName', ''))} is not running on node {quoted(self.node)}"
        account = pod.object["spec"].get("serviceAccountName", "")
        uids = [("", "nodes", Key("", self.node), "nodeUID"), ("", "pods", Key(namespace, spec["podName"]), "podUID")]
        uids.append(("", "serviceaccounts", Key(namespace, account), "serviceAccountUID"))
        for group, plural, key, field in uids:
            stored = self.cache.collection(group, plural).get(key)
            if stored is None or stored.object["metadata"]["uid"] != spec.get(field):
                return f"PodCertificateRequest.Spec.{field} is not that of {plural} {quoted(key.name)}"
        return "" if spec.get("serviceAccountName") == account else f"pod {quoted(spec['podName'])} runs as another service account"


CLAIM_STATUS = (
    *("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"),
    *("currentVolumeAttributesClassName", "modifyVolumeStatus"),
)
"""What a node may say of a claim; the last two are of the drivers that its agent drives."""
SOURCE_TOPOLOGY = "storage.moorings.dev/source-topology"
CLAIM_SOURCE = "snapshot.storage.kubernetes.io/pvc-as-source-protection"
Check = Callable[[NodeRestriction, str, str, Object, Object], str]
"""operation, subresource, new and old object ({} where there is none) to why it is refused, or \"\""""
_CHECKS: dict[tuple[str, str], Check] = {
    ("", "pods"): NodeRestriction._pod,
    ("", "nodes"): NodeRestriction._node,
    ("", "persistentvolumeclaims"): NodeRestriction._claim,
    ("", "serviceaccounts"): NodeRestriction._account,
    ("coordination.k8s.io", "leases"): NodeRestriction._lease,
    ("storage.k8s.io", "csinodes"): NodeRestriction._csi_node,
    ("resource.k8s.io", "resourceslices"): NodeRestriction._slice,
    ("certificates.k8s.io", "podcertificaterequests"): NodeRestriction._certificate,
}


def _is_reserved(label: str) -> bool:
    """Whether a node may not give itself a label: others rely on it to tell nodes apart."""
    domain, slash, _ = label.partition("/")
    if not slash or label in OWN_LABELS:
        return False
    if domain == RESERVED or domain.endswith(f".{RESERVED}"):
        return True
    if any(domain == own or domain.endswith(f".{own}") for own in ("kubelet.kubernetes.io", "node.kubernetes.io")):
        return False
    return any(domain == root or domain.endswith(f".{root}") for root in ("kubernetes.io", "k8s.io"))


def _refers(spec: Object) -> str:
    """Return what of the API a pod refers to, "" where nothing."""
    if spec.get("serviceAccountName"):
        return "serviceaccounts"
    for volume in spec.get("volumes") or ():
        for source, words in (("secret", "secrets"), ("configMap", "configmaps"), ("persistentVolumeClaim", "persistentvolumeclaims")):
            if volume.get(source):
                return words
        if volume.get("projected"):
            return "projected volumes"
    if spec.get("resourceClaims"):
        return "resourceclaims"
    environment = [c for part in ("initContainers", "containers") for c in spec.get(part) or ()]
    sources = [s for c in environment for s in c.get("envFrom") or ()]
    sources += [v.get("valueFrom") or {} for c in environment for v in c.get("env") or ()]
    if any(s.get("secretRef") or s.get("secretKeyRef") for s in sources) or spec.get("imagePullSecrets"):
        return "secrets"
    return "configmaps" if any(s.get("configMapRef") or s.get("configMapKeyRef") for s in sources) else ""


def _without(obj: Object, part: str, fields: tuple[str, ...]) -> Object:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in SERVER_KEPT}
    return {**obj, "metadata": metadata, part: {k: v for k, v in (obj.get(part) or {}).items() if k not in fields}}


def _unmarked(claim: Object) -> Object:
    """Return a claim without what its provisioner writes on it."""
    metadata = {k: v for k, v in claim["metadata"].items() if k not in SERVER_KEPT}
    metadata["annotations"] = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in (SELECTED_NODE, SOURCE_TOPOLOGY)}
    metadata["finalizers"] = [f for f in metadata.get("finalizers") or () if f not in (INTENT, CLAIM_SOURCE)]
    return {**claim, "metadata": metadata}
