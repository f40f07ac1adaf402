"""A node's agent has the rights of its own node and no more: its credentials, tried by the unmodified kubectl."""

from __future__ import annotations

import json

import pytest
import yaml

from moorings_labs import layout

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"
HERE, THERE = "node-1", "node-2"


def pod(name, node):
    """Return a pod that is on a node and refers to the secret, map and account of its own name."""
    volumes = [{"name": "s", "secret": {"secretName": name}}, {"name": "c", "configMap": {"name": name}}]
    spec = {
        "nodeName": node,
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sleep", "3600"]}],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def objects(name, node):
    metadata = {"name": name}
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"word": name}}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"word": name}}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    yield pod(name, node)


@pytest.fixture
def agent(lab, namespace):
    """Return kubectl with the credentials of the agent on node-1, while a pod runs there and another one on node-2."""
    manifests = [obj for name, node in (("here", HERE), ("there", THERE)) for obj in objects(name, node)]
    lab.apply(yaml.safe_dump_all(manifests), namespace)
    lab.kubectl("wait", "--for=condition=Ready", "pod/here", "pod/there", "-n", namespace, "--timeout=60s")
    credentials = layout.find(lab.name).pki / HERE / "kubeconfig"

    def kubectl(*words, stdin=""):
        done = lab.kubectl("--kubeconfig", str(credentials), "-n", namespace, *words, stdin=stdin, check=False)
        return done.stdout if done.returncode == 0 else done.stderr

    return kubectl


def test_an_agent_reads_what_pods_on_its_node_refer_to_and_nothing_else(agent):
    for kind in ("secret", "configmap", "serviceaccount"):
        assert agent("get", kind, "here", "-o", "name").strip() == f"{kind}/here"
        refused = agent("get", kind, "there")
        assert f'User "system:node:{HERE}" cannot get resource "{kind}s"' in refused
        assert f"no relationship found between node '{HERE}' and this object" in refused
    assert "Forbidden" in agent("get", "secrets")
    assert "Forbidden" in agent("get", "secrets", "-A")
    assert "Forbidden" in agent("get", "pod", "there")
    assert "pod/there" in agent("get", "pods", "-o", "name").split()  # network policies select pods of all nodes


def test_an_agent_writes_what_is_of_its_node_and_nothing_else(agent, lab, namespace):
    assert "can only delete pods with spec.nodeName set to itself" in agent("delete", "pod", "there", "--grace-period=0")

    def write_status(name):
        found = lab.get("pod", name, "-n", namespace)
        found["status"]["message"] = "mine"
        return agent("replace", "--raw", f"/api/v1/namespaces/{namespace}/pods/{name}/status", "-f", "-", stdin=json.dumps(found))

    assert "can only update pod status for pods with spec.nodeName set to itself" in write_status("there")
    assert json.loads(write_status("here"))["status"]["message"] == "mine"
    assert "cannot patch resource" in agent("patch", "pod", "here", "-p", json.dumps({"metadata": {"labels": {"a": "b"}}}))
    assert f'is not allowed to modify node "{THERE}"' in agent("label", "node", THERE, "example.org/a=b")
    assert "is not allowed to modify labels" in agent("label", "node", HERE, "node-restriction.kubernetes.io/a=b")
    assert "not allowed to modify taints" in agent("taint", "node", HERE, "a=b:NoExecute")
    more = pod("here", HERE) | {"metadata": {"name": "more"}}
    assert "can only create mirror pods" in agent("create", "-f", "-", stdin=yaml.safe_dump(more))
    assert "cannot create resource" in agent("create", "deployment", "x", f"--image={IMAGE}")
    assert "cannot create resource" in agent("create", "rolebinding", "x", "--clusterrole=cluster-admin", f"--user=system:node:{HERE}")


def test_an_agent_gets_tokens_for_pods_on_its_node_alone(agent, lab, namespace):
    def token(account, name):
        uid = lab.get("pod", name, "-n", namespace)["metadata"]["uid"]
        return agent("create", "token", account, "--bound-object-kind=Pod", f"--bound-object-name={name}", f"--bound-object-uid={uid}")

    assert token("here", "here").count(".") == 2
    assert "no relationship found between node" in token("there", "there")
    assert "node requested token not bound to a pod" in agent("create", "token", "here")


def test_a_pod_has_the_rights_of_its_account(agent, lab, namespace):
    review = ["auth", "can-i", "list", "pods", "-n", namespace, f"--as=system:serviceaccount:{namespace}:here"]
    assert lab.kubectl(*review, check=False).stdout.strip() == "no"
    lab.kubectl("create", "rolebinding", "view", "--clusterrole=view", f"--serviceaccount={namespace}:here", "-n", namespace)
    lab.wait_for("the account may list", lambda: lab.kubectl(*review, check=False).stdout.strip() == "yes")
