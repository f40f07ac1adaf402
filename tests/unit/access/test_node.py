"""A node's agent reads what the pods on its node refer to, and writes what is its own."""

from __future__ import annotations

import pytest

from moorings_core.api.access import born
from moorings_core.api.access.node import NodeAuthorizer
from moorings_core.api.access.node_restriction import NodeRestriction
from moorings_core.api.access.rbac import Rbac
from moorings_core.api.context import User
from moorings_core.ports.errors import Forbidden
from moorings_core.ports.objects import Resource
from moorings_core.registry.selectors import parse_fields

from .world import World, agent, ask, obj

ONE, TWO = agent("one"), agent("two")
UNRELATED = "no relationship found between node 'one' and this object"


def pod(name, node, **spec):
    return obj("Pod", name, "x", spec={"nodeName": node, "serviceAccountName": f"sa-{name}", "containers": [], **spec})


def rich_pod():
    containers = [
        {
            "name": "main",
            "envFrom": [{"secretRef": {"name": "s-from"}}, {"configMapRef": {"name": "c-from"}}],
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s-key"}}}, {"name": "B", "valueFrom": {"fieldRef": {}}}],
        }
    ]
    volumes = [
        {"name": "a", "secret": {"secretName": "s-volume"}},
        {"name": "b", "configMap": {"name": "c-volume"}},
        {"name": "c", "projected": {"sources": [{"secret": {"name": "s-projected"}}, {"configMap": {"name": "c-projected"}}]}},
        {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "e", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "f", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s-driver"}}},
    ]
    init = [{"name": "init", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c-init"}}}]}]
    pull = [{"name": "s-pull"}]
    return pod("rich", "one", containers=containers, initContainers=init, volumes=volumes, imagePullSecrets=pull)


@pytest.fixture
def world():
    made = World()
    csi = {"driver": "d", "nodeStageSecretRef": {"name": "s-stage", "namespace": "other"}}
    made.put(
        rich_pod(),
        pod("poor", "two"),
        obj("PersistentVolumeClaim", "data", "x", spec={"volumeName": "pv"}),
        obj("PersistentVolume", "pv", spec={"claimRef": {"namespace": "x", "name": "data"}, "csi": csi}),
        obj("VolumeAttachment", "va", spec={"nodeName": "one"}),
    )
    return made


READABLE = [
    *(("secrets", name) for name in ("s-from", "s-key", "s-volume", "s-projected", "s-driver", "s-pull")),
    *(("configmaps", name) for name in ("c-from", "c-volume", "c-projected", "c-init")),
    ("persistentvolumeclaims", "data"),
    ("persistentvolumeclaims", "rich-e"),
    ("serviceaccounts", "sa-rich"),
    ("pods", "rich"),
]


@pytest.mark.parametrize(("plural", "name"), READABLE)
def test_what_a_pod_refers_to_is_read_by_its_node_alone(world, plural, name):
    authorizer = NodeAuthorizer(world.cache, born.node_rules())
    question = ("get", plural, name, "x")
    assert authorizer.decide(ask(ONE, *question)).allowed
    assert not authorizer.decide(ask(TWO, *question)).allowed
    assert not authorizer.decide(ask(ONE, "get", plural, name, "elsewhere")).allowed
    world.remove(rich_pod())
    refused = authorizer.decide(ask(ONE, *question))
    assert (refused.allowed, refused.reason) == (False, UNRELATED)


def test_a_pod_that_moves_in_or_out_takes_its_rights_with_it(world):
    authorizer = NodeAuthorizer(world.cache, born.node_rules())
    asked = ask(ONE, "get", "secrets", "late", "x")
    assert not authorizer.decide(asked).allowed
    late = pod("late", "one", volumes=[{"name": "a", "secret": {"secretName": "late"}}])
    world.put({**late, "spec": {**late["spec"], "nodeName": ""}})
    assert not authorizer.decide(asked).allowed
    world.put(late)
    assert authorizer.decide(asked).allowed
    world.put({**late, "metadata": {**late["metadata"], "annotations": {"kubernetes.io/config.mirror": "1"}}})
    assert not authorizer.decide(asked).allowed, "a node could else make itself a right by a mirror pod"


def test_volumes_are_read_through_claims_and_their_secrets_through_volumes(world):
    authorizer = NodeAuthorizer(world.cache, born.node_rules())
    for user, allowed in ((ONE, True), (TWO, False)):
        assert authorizer.decide(ask(user, "get", "persistentvolumes", "pv")).allowed is allowed
        assert authorizer.decide(ask(user, "get", "volumeattachments", "va", group="storage.k8s.io")).allowed is allowed
    secret = obj("Secret", "s-stage", "other")
    world.put(secret)
    assert not authorizer.decide(ask(TWO, "get", "secrets", "s-stage", "other")).allowed


def test_secrets_that_classes_name_are_read_where_their_driver_is_unless_its_own_sidecars_run(world):
    authorizer = NodeAuthorizer(world.cache, born.node_rules())
    parameters = {"csi.storage.k8s.io/provisioner-secret-name": "${pvc.name}", "csi.storage.k8s.io/provisioner-secret-namespace": "keys"}
    declared = obj("CSIDriver", "d")
    world.put(
        declared,
        obj("CSINode", "one", spec={"drivers": [{"name": "d"}]}),
        obj("StorageClass", "slow", provisioner="d", parameters=parameters),
        obj("PersistentVolumeClaim", "data", "x", spec={"storageClassName": "slow"}),
        obj(
            "PersistentVolume",
            "made",
            spec={"csi": {"driver": "d", "controllerExpandSecretRef": {"name": "expand", "namespace": "keys"}}},
        ),
    )
    for name in ("data", "expand"):
        assert authorizer.decide(ask(ONE, "get", "secrets", name, "keys")).allowed
        assert not authorizer.decide(ask(TWO, "get", "secrets", name, "keys")).allowed
    assert not authorizer.decide(ask(ONE, "get", "secrets", "other", "keys")).allowed
    declared["metadata"]["annotations"] = {"storage.moorings.dev/sidecars": "own"}
    world.put(declared)
    assert not authorizer.decide(ask(ONE, "get", "secrets", "data", "keys")).allowed
    world.remove(declared)
    assert not authorizer.decide(ask(ONE, "get", "secrets", "data", "keys")).allowed, "a node alone declares no driver"


def test_secrets_for_asking_about_snapshots_are_read_where_their_driver_is(world):
    authorizer = NodeAuthorizer(world.cache, born.node_rules())
    parameters = {
        "csi.storage.k8s.io/snapshotter-list-secret-name": "list-${volumesnapshotcontent.name}",
        "csi.storage.k8s.io/snapshotter-list-secret-namespace": "keys",
    }
    world.put(
        obj("CSIDriver", "d.example.com", spec={}),
        obj("CSINode", "one", spec={"drivers": [{"name": "d.example.com"}]}),
        obj("VolumeSnapshotClass", "c", driver="d.example.com", parameters=parameters),
        obj("VolumeSnapshotContent", "content", spec={"driver": "d.example.com", "volumeSnapshotClassName": "c"}),
        obj("VolumeSnapshotContent", "classless", spec={"driver": "d.example.com"}),
    )
    assert authorizer.decide(ask(ONE, "get", "secrets", "list-content", "keys")).allowed
    assert not authorizer.decide(ask(TWO, "get", "secrets", "list-content", "keys")).allowed
    assert not authorizer.decide(ask(ONE, "get", "secrets", "list-classless", "keys")).allowed


NODES_ONLY = ("get", "nodes", "one")
VERDICTS = [
    (ONE, ("list", "secrets", "", "x"), "No Object name found"),
    (ONE, ("list", "secrets", "s-key", "x"), None),
    (ONE, ("delete", "secrets", "s-key", "x"), "can only read resources of this type"),
    (ONE, ("get", "secrets", "s-key"), "can only read namespaced object of this type"),
    (ONE, ("list", "persistentvolumeclaims", "", "x"), "can only get individual resources of this type"),
    (ONE, NODES_ONLY, None),
    (ONE, ("get", "nodes", "two"), "node 'one' cannot read 'two', only its own Node object"),
    (ONE, ("list", "nodes"), "node 'one' cannot read all nodes, only its own Node object"),
    (ONE, ("update", "nodes", "two"), None),
    (ONE, ("list", "pods"), "can only list/watch pods with spec.nodeName field selector"),
    (ONE, ("create", "pods"), None),
    (ONE, ("create", "services", "", "x"), ""),
    (ONE, ("list", "services"), None),
    (User("system:node:", ("system:nodes",)), ("get", "nodes", "one"), 'unknown node for user "system:node:"'),
    (User("system:node:one", ("others",)), ("get", "nodes", "one"), ""),
]


@pytest.mark.parametrize(("user", "question", "why"), VERDICTS)
def test_other_questions(world, user, question, why):
    decision = NodeAuthorizer(world.cache, born.node_rules()).decide(ask(user, *question))
    assert (decision.allowed, decision.reason) == ((True, "") if why is None else (False, why))


def test_pods_are_listed_by_node(world):
    authorizer = NodeAuthorizer(world.cache, born.node_rules())
    assert authorizer.decide(ask(ONE, "watch", "pods", fields=parse_fields("spec.nodeName=one"))).allowed
    assert not authorizer.decide(ask(ONE, "watch", "pods", fields=parse_fields("spec.nodeName!=one"))).allowed
    assert not authorizer.decide(ask(ONE, "watch", "pods", fields=parse_fields("spec.nodeName=two"))).allowed


def test_leases_and_csi_nodes_are_the_node_s_own(world):
    authorizer = NodeAuthorizer(world.cache, born.node_rules())
    lease = {"group": "coordination.k8s.io"}
    assert authorizer.decide(ask(ONE, "update", "leases", "one", "kube-node-lease", **lease)).allowed
    assert not authorizer.decide(ask(ONE, "update", "leases", "two", "kube-node-lease", **lease)).allowed
    assert not authorizer.decide(ask(ONE, "update", "leases", "one", "kube-system", **lease)).allowed
    assert authorizer.decide(ask(ONE, "patch", "csinodes", "one", group="storage.k8s.io")).allowed
    assert not authorizer.decide(ask(ONE, "patch", "csinodes", "two", group="storage.k8s.io")).allowed


NODE = obj("Node", "one", spec={"taints": []})
CLAIM = obj("PersistentVolumeClaim", "data", "x", spec={"volumeName": "pv"})
POD = pod("mine", "one")


def labelled(node, **labels):
    return {**node, "metadata": {**node["metadata"], "labels": {k.replace("__", "/"): v for k, v in labels.items()}}}


def marked(claim, **metadata):
    return {**claim, "metadata": {**claim["metadata"], **metadata}}


def bound(uid, name="mine", **more):
    spec = {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}, **more}
    return obj("TokenRequest", "sa", "x", spec=spec)


WRITES = [
    ("its own node", "nodes", "UPDATE", "status", NODE, NODE, ""),
    ("another node", "nodes", "UPDATE", "", obj("Node", "two"), obj("Node", "two"), 'node "one" is not allowed to modify node "two"'),
    ("a label of its own", "nodes", "UPDATE", "", labelled(NODE, example__a="b"), NODE, ""),
    ("a topology label", "nodes", "CREATE", "", labelled(NODE, **{"topology.kubernetes.io/zone": "z"}), None, ""),
    (
        "a reserved label",
        "nodes",
        "UPDATE",
        "",
        labelled(NODE, **{"node-restriction.kubernetes.io/a": "b"}),
        NODE,
        "is not allowed to modify labels: node-restriction.kubernetes.io/a",
    ),
    (
        "a label of Kubernetes",
        "nodes",
        "CREATE",
        "",
        labelled(NODE, **{"k8s.io/a": "b"}),
        None,
        'node "one" is not allowed to set the following labels: k8s.io/a',
    ),
    ("its taints", "nodes", "UPDATE", "", {**NODE, "spec": {"taints": [{"key": "a"}]}}, NODE, 'node "one" is not allowed to modify taints'),
    ("the status of its pod", "pods", "UPDATE", "status", POD, POD, ""),
    (
        "the labels of its pod",
        "pods",
        "UPDATE",
        "status",
        labelled(POD, a="b"),
        POD,
        'node "one" cannot update labels through pod status',
    ),
    (
        "the status of a pod elsewhere",
        "pods",
        "UPDATE",
        "status",
        pod("p", "two"),
        pod("p", "two"),
        'node "one" can only update pod status for pods with spec.nodeName set to itself',
    ),
    ("a pod's end", "pods", "DELETE", "", None, POD, ""),
    (
        "a pod's end elsewhere",
        "pods",
        "DELETE",
        "",
        None,
        pod("p", "two"),
        'node "one" can only delete pods with spec.nodeName set to itself',
    ),
    (
        "an eviction elsewhere",
        "pods",
        "CREATE",
        "eviction",
        None,
        pod("p", "two"),
        "node one can only evict pods with spec.nodeName set to itself",
    ),
    (
        "a pod",
        "pods",
        "CREATE",
        "",
        POD,
        None,
        'pod does not have "kubernetes.io/config.mirror" annotation, node "one" can only create mirror pods',
    ),
    (
        "a binding",
        "pods",
        "CREATE",
        "binding",
        POD,
        None,
        "unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed",
    ),
    (
        "a mark on a claim",
        "persistentvolumeclaims",
        "UPDATE",
        "",
        marked(CLAIM, finalizers=["provisioning.moorings.dev/volume"]),
        CLAIM,
        "",
    ),
    ("another mark", "persistentvolumeclaims", "UPDATE", "", marked(CLAIM, finalizers=["mine"]), CLAIM, "may only update PVC status"),
    (
        "a claim for another node",
        "persistentvolumeclaims",
        "UPDATE",
        "",
        marked(CLAIM, annotations={"volume.kubernetes.io/selected-node": "two"}),
        CLAIM,
        "may only update PVC status",
    ),
    (
        "a claim taken from another node",
        "persistentvolumeclaims",
        "UPDATE",
        "",
        CLAIM,
        marked(CLAIM, annotations={"volume.kubernetes.io/selected-node": "two"}),
        "may only update PVC status",
    ),
    ("its own lease", "leases", "CREATE", "", obj("Lease", "one", "kube-node-lease"), None, ""),
    ("an election of nodes", "leases", "UPDATE", "", obj("Lease", "metal-1", "kube-system"), obj("Lease", "metal-1", "kube-system"), ""),
    (
        "the scheduler's lease",
        "leases",
        "UPDATE",
        "",
        obj("Lease", "kube-scheduler", "kube-system"),
        obj("Lease", "kube-scheduler", "kube-system"),
        'can only access leases in the "kube-node-lease" system namespace',
    ),
    ("a token for its pod", "serviceaccounts", "CREATE", "token", bound("uid-mine"), None, ""),
    (
        "a token without a pod",
        "serviceaccounts",
        "CREATE",
        "token",
        obj("TokenRequest", "sa", "x"),
        None,
        "node requested token not bound to a pod",
    ),
    (
        "a token for a pod elsewhere",
        "serviceaccounts",
        "CREATE",
        "token",
        bound("uid-poor", "poor"),
        None,
        "a pod scheduled on a different node",
    ),
    ("a token for an earlier pod", "serviceaccounts", "CREATE", "token", bound("old"), None, "does not match the UID in record"),
    (
        "a token for an audience that the pod does not ask for",
        "serviceaccounts",
        "CREATE",
        "token",
        bound("uid-mine", audiences=["vault"]),
        None,
        'system:node:one is not authorized to request tokens for audience "vault"',
    ),
]
API_GROUPS = {"leases": "coordination.k8s.io"}


@pytest.mark.parametrize(("plural", "operation", "subresource", "new", "old", "why"), [w[1:] for w in WRITES], ids=[w[0] for w in WRITES])
def test_a_node_may_write(plural, operation, subresource, new, old, why):
    world = World()
    token = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {}}]}}
    world.put(pod("mine", "one", volumes=[token]), pod("poor", "two", volumes=[token]))
    guard = NodeRestriction(world.cache, "one")
    resource = Resource(API_GROUPS.get(plural, ""), "v1", plural, plural, True)
    if not why:
        guard(operation, resource, subresource, new, old)
        return
    with pytest.raises(Forbidden) as caught:
        guard(operation, resource, subresource, new, old)
    assert why in str(caught.value)


def test_a_token_for_another_audience_may_be_granted_to_nodes():
    world = World()
    token = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {}}]}}
    rule = {"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": ["vault"], "resourceNames": ["sa"]}
    to = [{"kind": "Group", "name": "system:nodes"}]
    world.put(
        pod("mine", "one", volumes=[token]),
        obj("ClusterRole", "vault", rules=[rule]),
        obj("RoleBinding", "vault", "x", roleRef={"kind": "ClusterRole", "name": "vault"}, subjects=to),
    )
    guard = NodeRestriction(world.cache, "one", Rbac(world.cache))
    accounts = Resource("", "v1", "serviceaccounts", "ServiceAccount", True)
    guard("CREATE", accounts, "token", bound("uid-mine", audiences=["vault"]), None)
    with pytest.raises(Forbidden, match='not authorized to request tokens for audience "other"'):
        guard("CREATE", accounts, "token", bound("uid-mine", audiences=["other"]), None)


CERTIFICATES = Resource("certificates.k8s.io", "v1", "podcertificaterequests", "PodCertificateRequest", True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"nodeName": "two"}, 'PodCertificateRequest.Spec.NodeName="two", which is not the requesting node "one"'),
        ({"podName": "poor"}, 'pod "poor" is not running on node "one"'),
        ({"podUID": "old"}, "podUID is not that of pods"),
        ({"nodeUID": "old"}, "nodeUID is not that of nodes"),
        ({"serviceAccountName": "other"}, "runs as another service account"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_node_asks_for_certificates_of_its_pods_alone(change, why):
    world = World()
    world.put(NODE, pod("mine", "one"), pod("poor", "two"), obj("ServiceAccount", "sa-mine", "x"))
    spec = {"nodeName": "one", "nodeUID": "uid-one", "podName": "mine", "podUID": "uid-mine"}
    spec |= {"serviceAccountName": "sa-mine", "serviceAccountUID": "uid-sa-mine", **change}
    guard = NodeRestriction(world.cache, "one")
    if not why:
        guard("CREATE", CERTIFICATES, "", obj("PodCertificateRequest", "r", "x", spec=spec), None)
        return
    with pytest.raises(Forbidden) as caught:
        guard("CREATE", CERTIFICATES, "", obj("PodCertificateRequest", "r", "x", spec=spec), None)
    assert why in str(caught.value)
