"""A cluster whose nodes claim their pod addresses in blocks, with the rights that nodes have."""

import pytest

from . import places

pytestmark = pytest.mark.lab
FILE = """
network: {podCIDRs: [10.64.0.0/16], allocateNodeCIDRs: false, parameters: {blockSize: 28}}
storage: []
lab:
  nodes:
  - {name: server, roles: [server]}
  - {count: 2, cpu: 2, memory: 1Gi}
"""
MANY = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 16
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      nodeName: node-1
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "moorings.dev/busybox:1", command: [sleep, "3600"]}]
"""


@pytest.mark.timeout(240)
def test_nodes_claim_blocks_as_pods_come_and_give_them_back_as_they_go(make_lab):
    lab = make_lab(FILE)

    def claims() -> dict[str, list[str]]:
        data = lab.get("configmap", "moorings-pod-blocks", "-n", "kube-system").get("data") or {}
        return {node: text.split() for node, text in data.items()}

    assert all("podCIDR" not in node["spec"] for node in lab.get("nodes")["items"])
    lab.wait_for("a block for each node", lambda: {node: len(blocks) for node, blocks in claims().items()} == {"node-1": 1, "node-2": 1})
    lab.apply(MANY + "---\n" + places.web("far", far="node-2"))
    lab.kubectl("rollout", "status", "deployment/many", "--timeout=120s", timeout=150)
    addresses = [pod["status"]["podIP"] for pod in lab.get("pods", "-l", "app=many")["items"]]
    assert len(set(addresses)) == 16 and len(claims()["node-1"]) == 2
    lab.wait_ready("far")
    page = f"http://{lab.pod_ip('far')}:8080/name"
    for pod in lab.get("pods", "-l", "app=many")["items"]:
        assert lab.exec(pod["metadata"]["name"], "timeout", "5", "wget", "-qO-", page).stdout == "far\n"
    lab.kubectl("scale", "deployment/many", "--replicas=0")
    lab.wait_for("what nobody uses to be given back", lambda: len(claims()["node-1"]) == 1, timeout=60)
