"""Built-in plugins: what each fills in and refuses, in a table of cases for each."""

from __future__ import annotations

import asyncio
import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from moorings_core.api.context import Context
from moorings_core.client.resources import (
    LIMIT_RANGES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    PRIORITY_CLASSES,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
)
from moorings_core.ports.errors import Forbidden, Invalid, NotFound
from moorings_core.ports.objects import Key, Resource

INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", True)
INGRESS_CLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", False)
RUNTIME_CLASSES = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", False)
REQUESTS = Resource("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False)
MIRROR = {"kubernetes.io/config.mirror": "x"}
CONTAINER = {"name": "c", "image": "i"}


def annotated(**annotations):
    return {"annotations": {k.replace("__", "/"): v for k, v in annotations.items()}}


async def test_a_pod_waits_for_the_account_that_a_controller_is_making(api):
    await api.create(NAMESPACES, "new")
    waiting = asyncio.create_task(api.pod("p", "new"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await api.create(SERVICE_ACCOUNTS, "default", "new")
    assert (await waiting)["spec"]["serviceAccountName"] == "default"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "other"}}]}, 'volume with secret.secretName="other" is not allowed'),
        (
            {"containers": [{**CONTAINER, "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}]}]},
            'container c with envVar A referencing secret.secretName="other" is not allowed',
        ),
        (
            {"initContainers": [{"name": "i", "image": "i", "envFrom": [{"secretRef": {"name": "other"}}]}]},
            'init container i with envFrom referencing secret.secretName="other" is not allowed',
        ),
        ({"imagePullSecrets": [{"name": "other"}]}, 'imagePullSecrets[0].name="other" is not allowed'),
        ({"volumes": [{"name": "v", "secret": {"secretName": "mine"}}], "imagePullSecrets": [{"name": "pull"}]}, ""),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
async def test_a_strict_account_mounts_only_its_own_secrets(api, spec, told):
    metadata = annotated(**{"kubernetes.io__enforce-mountable-secrets": "true"})
    own = {"secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}]}
    await api.create(SERVICE_ACCOUNTS, "strict", metadata=metadata, **own)
    if told:
        with pytest.raises(Forbidden) as refused:
            await api.pod("p", serviceAccountName="strict", **spec)
        assert told in str(refused.value)
    else:
        await api.pod("p", serviceAccountName="strict", **spec)


async def test_a_pod_gets_its_account_s_pull_secrets_and_token(api):
    await api.create(SERVICE_ACCOUNTS, "puller", imagePullSecrets=[{"name": "pull"}])
    made = await api.pod("p", serviceAccountName="puller")
    assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    (mount,) = made["spec"]["containers"][0]["volumeMounts"]
    (volume,) = made["spec"]["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/var/run/secrets/kubernetes.io/serviceaccount")
    bare = await api.pod("q", serviceAccountName="puller", automountServiceAccountToken=False)
    assert "volumes" not in bare["spec"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"serviceAccountName": "default"}, "a mirror pod may not reference service accounts"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
async def test_a_mirror_pod_uses_nothing_of_the_cluster(api, spec, told):
    with pytest.raises(Forbidden, match=told):
        await api.pod("m", metadata={"annotations": MIRROR}, nodeName="n", **spec)


async def test_priorities_are_those_of_classes(api):
    await api.create(PRIORITY_CLASSES, "high", value=7, preemptionPolicy="Never")
    made = await api.pod("a", priorityClassName="high")
    assert (made["spec"]["priority"], made["spec"]["preemptionPolicy"]) == (7, "Never")
    with pytest.raises(Forbidden, match="no PriorityClass with name low was found"):
        await api.pod("b", priorityClassName="low")
    with pytest.raises(Forbidden, match=r"the integer value of priority \(9\) must not be provided"):
        await api.pod("b", priorityClassName="high", priority=9)
    await api.create(PRIORITY_CLASSES, "usual", value=1, globalDefault=True)
    assert (await api.pod("c"))["spec"]["priorityClassName"] == "usual"
    with pytest.raises(Forbidden, match=r"PriorityClass usual is already marked as default. Only one default can exist"):
        await api.create(PRIORITY_CLASSES, "other", value=2, globalDefault=True)


async def test_a_runtime_brings_overhead_and_place(api):
    scheduling = {"nodeSelector": {"kind": "heavy"}, "tolerations": [{"key": "t", "operator": "Exists"}]}
    await api.create(RUNTIME_CLASSES, "heavy", handler="h", overhead={"podFixed": {"cpu": "250m"}}, scheduling=scheduling)
    made = (await api.pod("a", runtimeClassName="heavy", nodeSelector={"a": "b"}))["spec"]
    assert (made["overhead"], made["nodeSelector"]) == ({"cpu": "250m"}, {"a": "b", "kind": "heavy"})
    assert {"key": "t", "operator": "Exists"} in made["tolerations"]
    for spec, told in (
        ({"runtimeClassName": "absent"}, 'RuntimeClass "absent" not found'),
        ({"runtimeClassName": "heavy", "overhead": {"cpu": "1"}}, "Overhead doesn't match"),
        ({"runtimeClassName": "heavy", "nodeSelector": {"kind": "light"}}, "conflict: runtimeClass.scheduling.nodeSelector"),
        ({"overhead": {"cpu": "1"}}, "Pod Overhead set without corresponding RuntimeClass"),
    ):
        with pytest.raises(Forbidden, match=told):
            await api.pod("b", **spec)


async def test_the_newest_default_class_is_taken(api):
    mark = annotated(**{"storageclass.kubernetes.io__is-default-class": "true"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    none = await api.create(PERSISTENT_VOLUME_CLAIMS, "none", spec=spec)
    assert "storageClassName" not in none["spec"]
    assert none["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    for name in ("b", "a"):
        await api.create(STORAGE_CLASSES, name, metadata=mark, provisioner="p")
    assert (await api.create(PERSISTENT_VOLUME_CLAIMS, "some", spec=spec))["spec"]["storageClassName"] == "a", "equally new: by name"
    chosen = await api.create(PERSISTENT_VOLUME_CLAIMS, "chosen", spec={**spec, "storageClassName": ""})
    assert chosen["spec"]["storageClassName"] == ""
    mark = annotated(**{"ingressclass.kubernetes.io__is-default-class": "true"})
    await api.create(INGRESS_CLASSES, "front", metadata=mark, spec={"controller": "example.org/c"})
    backend = {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}
    assert (await api.create(INGRESSES, "i", spec=backend))["spec"]["ingressClassName"] == "front"


async def test_a_claim_grows_only_when_bound_and_where_its_class_lets_it(api):
    await api.create(STORAGE_CLASSES, "fixed", provisioner="p")
    await api.create(STORAGE_CLASSES, "growing", provisioner="p", allowVolumeExpansion=True)
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    for name in ("fixed", "growing"):
        await api.create(PERSISTENT_VOLUME_CLAIMS, name, spec={**spec, "storageClassName": name, "volumeName": "v"})
    with pytest.raises(Invalid, match=r"spec is immutable after creation except resources.requests .* for bound claims"):
        await api.patch(PERSISTENT_VOLUME_CLAIMS, "growing", more)
    for name in ("fixed", "growing"):
        await api.patch(PERSISTENT_VOLUME_CLAIMS, name, {"status": {"phase": "Bound"}}, subresource="status")
    with pytest.raises(Forbidden, match="the storageclass that provisions the pvc must support resize"):
        await api.patch(PERSISTENT_VOLUME_CLAIMS, "fixed", more)
    assert (await api.patch(PERSISTENT_VOLUME_CLAIMS, "growing", more))["spec"]["resources"]["requests"]["storage"] == "2Gi"


async def test_nothing_is_made_where_no_namespace_is_or_one_is_going(api):
    with pytest.raises(NotFound, match='namespaces "absent" not found'):
        await api.pod("p", "absent")
    core = api.core
    await core.writer.delete(core.kind(NAMESPACES), Key("", "e"), Context())
    with pytest.raises(Forbidden, match="unable to create new content in namespace e because it is being terminated") as refused:
        await api.pod("p", "e")
    assert refused.value.details["causes"][0]["reason"] == "NamespaceTerminating"
    for name in ("default", "kube-system", "kube-public"):
        await api.create(NAMESPACES, name)
        with pytest.raises(Forbidden, match="this namespace may not be deleted"):
            await core.writer.delete(core.kind(NAMESPACES), Key("", name), Context())


async def test_a_new_node_is_tainted_and_its_zone_is_on_its_pods(api):
    labels = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "x"}
    node = await api.create(NODES, "n", metadata={"labels": labels})
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    await api.pod("p")
    binding = {"metadata": {"name": "p", "namespace": "d"}, "target": {"kind": "Node", "name": "n"}}
    await api.client.create(PODS, binding, subresource="binding", name="p")
    assert "labels" not in binding["metadata"], "what the scheduler sends is its own"
    bound = api.core.reader.get(PODS, Key("d", "p")).object
    assert bound["metadata"]["labels"] == {k: v for k, v in labels.items() if k != "other"}
    tolerations = {(t["key"], t["effect"], t["tolerationSeconds"]) for t in bound["spec"]["tolerations"]}
    assert tolerations == {(f"node.kubernetes.io/{what}", "NoExecute", 300) for what in ("not-ready", "unreachable")}


@pytest.mark.parametrize(
    ("limit", "requests", "limits", "told"),
    [
        ({"min": {"cpu": "100m"}}, {}, {}, "minimum cpu usage per Pod is 100m.  No request is specified"),
        ({"min": {"cpu": "100m"}}, {"cpu": "99m"}, {}, "minimum cpu usage per Pod is 100m, but request is 99m"),
        ({"min": {"cpu": "100m"}}, {"cpu": "100m"}, {}, ""),
        ({"max": {"memory": "1Gi"}}, {}, {"memory": "1025Mi"}, "maximum memory usage per Pod is 1Gi, but limit is 1025Mi"),
        ({"max": {"memory": "1Gi"}}, {}, {}, "maximum memory usage per Pod is 1Gi.  No limit is specified"),
        ({"max": {"memory": "1Gi"}}, {"memory": "1Gi"}, {"memory": "1Gi"}, ""),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"cpu": "1"},
            {"cpu": "2500m"},
            "cpu max limit to request ratio per Pod is 2, but provided ratio is 2.500000",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {},
            {},
            "cpu max limit to request ratio per Pod is 2, but no request is specified or request is 0",
        ),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
async def test_bounds_of_what_a_pod_takes(api, limit, requests, limits, told):
    await api.create(LIMIT_RANGES, "l", spec={"limits": [{"type": "Pod", **limit}]})
    containers = [{**CONTAINER, "resources": {"requests": requests, "limits": limits}}]
    if told:
        with pytest.raises(Forbidden) as refused:
            await api.pod("p", containers=containers)
        assert str(refused.value) == f'pods "p" is forbidden: {told}'
    else:
        await api.pod("p", containers=containers)


async def test_several_broken_limits_are_all_named(api):
    limits = [{"type": "Pod", "max": {"cpu": "1"}, "min": {"memory": "1Gi"}}]
    await api.create(LIMIT_RANGES, "l", spec={"limits": limits})
    two = [{**CONTAINER, "name": n, "resources": {"requests": {"memory": "1Mi"}, "limits": {"cpu": "600m"}}} for n in "ab"]
    with pytest.raises(Forbidden) as refused:
        await api.pod("p", containers=two)
    assert "[minimum memory usage per Pod is 1Gi, but request is 2Mi, maximum cpu usage per Pod is 1, but limit is 1200m" in str(
        refused.value
    )


def _request(group):
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, "me"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)]
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


async def test_no_certificate_makes_an_administrator(api):
    spec = {"signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}
    with pytest.raises(Forbidden, match="signer with system:masters group is not allowed"):
        await api.create(REQUESTS, "c", spec={**spec, "request": _request("system:masters")})
    await api.create(REQUESTS, "c", spec={**spec, "request": _request("others")})
