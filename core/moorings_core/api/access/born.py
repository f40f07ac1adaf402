"""The roles and bindings that every cluster has: upstream's own, from facts that its server tells, and what our nodes need beyond.

They are put right at every start as upstream does it: what is missing is added, what somebody added stays, and what is annotated
autoupdate "false" is left alone. `plan` is pure.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from moorings_core.ports.client import Create, Delete, Update, Write
from moorings_core.ports.network import CLAIMS
from moorings_core.ports.objects import Object, Resource, key_of

from .attributes import RBAC
from .rules import Rule, missing, parse

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
KINDS = {
    "clusterroles": "ClusterRole",
    "clusterrolebindings": "ClusterRoleBinding",
    "roles": "Role",
    "rolebindings": "RoleBinding",
}
NODE_ROLE = "moorings:node"
GROUPS = "groupsnapshot.storage.k8s.io"
OURS: Object = {
    "clusterroles": {
        NODE_ROLE: {
            "rules": [
                "get,list,watch||nodes",  # the network: every node's addresses and pod range
                "list,watch||namespaces,pods",  # network policies: whom a policy's selectors mean
                "list,watch|networking.k8s.io|networkpolicies",
                "list,watch|discovery.k8s.io|endpointslices",  # proxy, DNS, the cloud's speaker
                "list,watch|networking.k8s.io|servicecidrs",  # the proxy: addresses of no Service are dropped
                "get,list,watch|storage.k8s.io|storageclasses,volumeattributesclasses,csidrivers,csinodes",  # drivers of the node's agent
                "get,list,watch,patch||persistentvolumeclaims",  # to provision, as the rest
                "patch||persistentvolumeclaims/status",
                "get,list,watch,create,patch,delete||persistentvolumes",
                "get,list,watch,patch|storage.k8s.io|volumeattachments",
                "patch|storage.k8s.io|volumeattachments/status",
                "get,list,watch,patch,create,delete|snapshot.storage.k8s.io|volumesnapshots,volumesnapshotcontents,volumesnapshotclasses",
                "patch|snapshot.storage.k8s.io|volumesnapshots/status,volumesnapshotcontents/status",
                f"get,list,watch,patch,create,delete|{GROUPS}|volumegroupsnapshots,volumegroupsnapshotcontents,volumegroupsnapshotclasses",
                f"patch|{GROUPS}|volumegroupsnapshots/status,volumegroupsnapshotcontents/status",
            ]
        }
    },
    "clusterrolebindings": {NODE_ROLE: {"role": f"ClusterRole:{NODE_ROLE}", "to": ["Group:system:nodes"]}},
    "roles": {
        f"kube-system/{NODE_ROLE}": {
            "rules": [
                "get,list,watch||configmaps|moorings",  # the cluster file
                f"get,update||configmaps|{CLAIMS}",  # who has which block of the pod CIDRs
                "create||services",  # kube-dns, by whichever node is first
                "create,update,delete|discovery.k8s.io|endpointslices",  # its endpoints, one slice a node
                "create,patch,delete|storage.k8s.io|csistoragecapacities",  # room in the node's drivers
                "get,list,watch,create,update|coordination.k8s.io|leases",  # who answers for an address
            ]
        }
    },
    "rolebindings": {f"kube-system/{NODE_ROLE}": {"role": f"Role:{NODE_ROLE}", "to": ["Group:system:nodes"]}},
}
"""What a node's network, proxy, DNS, CSI and cloud parts do with its credentials beyond what upstream's kubelet does. NodeRestriction
narrows it further: see `node_restriction`."""
Lookup = Callable[[Resource, str, str], "Object | None"]
"""Returns the stored object of a resource by namespace and name"""


def objects() -> Iterator[tuple[Resource, Object]]:
    """Yield what every cluster has, roles before their bindings."""
    for facts in (_facts(), OURS):
        for plural, kind in KINDS.items():
            namespaced = kind in ("Role", "RoleBinding")
            resource = Resource(RBAC, "v1", plural, kind, namespaced)
            for name, entry in facts[plural].items():
                yield resource, _object(kind, name, entry)


def node_rules() -> list[Rule]:
    """Return the rules of upstream's role for nodes."""
    return parse([_rule(text) for text in _facts()["clusterroles"]["system:node"]["rules"]])


def plan(lookup: Lookup) -> list[Write]:
    """Return the writes that bring what is stored to what every cluster has."""
    writes: list[Write] = []
    for resource, wanted in objects():
        key = key_of(wanted)
        stored = lookup(resource, key.namespace, key.name)
        if stored is None:
            writes.append(Create(resource, wanted))
        elif (stored["metadata"].get("annotations") or {}).get(AUTOUPDATE) != "false":
            writes += _mended(resource, stored, wanted)
    return writes


def _mended(resource: Resource, stored: Object, wanted: Object) -> list[Write]:
    if "roleRef" in wanted and stored["roleRef"] != wanted["roleRef"]:
        key = key_of(stored)
        return [Delete(resource, key.namespace, key.name, uid=stored["metadata"]["uid"]), Create(resource, wanted)]
    metadata = dict(stored["metadata"])
    for part in ("labels", "annotations"):
        metadata[part] = {**wanted["metadata"][part], **(metadata.get(part) or {})}
    new = {**stored, "metadata": metadata}
    for part in ("rules", "subjects"):
        if lacking := _lacking(part, stored, wanted):
            new[part] = [*(stored.get(part) or ()), *lacking]
    if "aggregationRule" in wanted:
        have = (stored.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        added = [s for s in wanted["aggregationRule"]["clusterRoleSelectors"] if s not in have]
        new["aggregationRule"] = {"clusterRoleSelectors": [*have, *added]}
    else:
        new.pop("aggregationRule", None)
    return [] if new == stored else [Update(resource, new)]


def _lacking(part: str, stored: Object, wanted: Object) -> list[Object]:
    if part == "rules":
        return missing(parse(stored.get("rules")), wanted.get("rules"))
    have = stored.get("subjects") or ()
    return [subject for subject in wanted.get("subjects") or () if subject not in have]


@functools.cache
def _facts() -> Object:
    facts: Object = json.loads(Path(__file__).with_name("roles.json").read_bytes())
    return facts


def _object(kind: str, name: str, entry: Object) -> Object:
    namespace, _, short = name.rpartition("/")
    metadata: Object = {"name": short, "labels": BOOTSTRAPPING | entry.get("labels", {}), "annotations": {AUTOUPDATE: "true"}}
    if namespace:
        metadata["namespace"] = namespace
    made: Object = {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata}
    if "role" in entry:
        role_kind, _, role = entry["role"].partition(":")
        subjects = [_subject(text) for text in entry["to"]]
        return made | {"roleRef": {"apiGroup": RBAC, "kind": role_kind, "name": role}} | ({"subjects": subjects} if subjects else {})
    if "from" in entry:
        return made | {"rules": None, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": labels} for labels in entry["from"]]}}
    return made | {"rules": [_rule(text) for text in entry["rules"]]}


def _rule(text: str) -> Object:
    parts = [part.split(",") for part in text.split("|")]
    if len(parts) == 2:
        return {"verbs": parts[0], "nonResourceURLs": parts[1]}
    return dict(zip(("verbs", "apiGroups", "resources", "resourceNames"), parts, strict=False))


def _subject(text: str) -> Object:
    kind, _, name = text.partition(":")
    if kind != "ServiceAccount":
        return {"kind": kind, "apiGroup": RBAC, "name": name}
    namespace, _, account = name.partition("/")
    return {"kind": kind, "name": account, "namespace": namespace}
