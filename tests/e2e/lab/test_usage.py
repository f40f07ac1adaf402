"""What agents tell of cpu and memory, to whom it is allowed: as metrics-server and Prometheus read it."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .pods_support import container, pod, room

KUBECTL = str(Path(sys.executable).with_name("kubectl"))
pytestmark = pytest.mark.lab
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "usage-scraper"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:monitoring"},
}  # fmt: skip


@pytest.fixture(scope="module")
def busy(lab):
    with room(lab) as made:
        hold, work = "dd if=/dev/zero of=/dev/shm/held bs=1M count=30", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
        made.apply(pod("busy", container(script=f"{hold}; {work}; exec sleep 3600"), container("idle")))
        made.ready("busy")
        yield made


def raw(lab, node, path):
    return lab.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}").stdout


def test_metrics_resource_has_the_values_that_metrics_server_needs(busy):
    node = busy.get("busy")["spec"]["nodeName"]

    def values():
        families = text_string_to_metric_families(raw(busy.lab, node, "metrics/resource"))
        found = {(s.name, s.labels.get("pod"), s.labels.get("container")): s for f in families for s in f.samples}
        memory = found["container_memory_working_set_bytes", "busy", "main"]
        return found if memory.value > 20 << 20 else None

    found = busy.lab.wait_for("the memory to be in use", values)
    assert found["container_cpu_usage_seconds_total", "busy", "main"].value > 0
    assert found["container_cpu_usage_seconds_total", "busy", "main"].timestamp
    assert found["container_start_time_seconds", "busy", "main"].value > 1.7e9
    both = sum(found["container_memory_working_set_bytes", "busy", name].value for name in ("main", "idle"))
    assert found["pod_memory_working_set_bytes", "busy", None].value == both
    assert found["node_memory_working_set_bytes", None, None].value > both
    assert found["node_cpu_usage_seconds_total", None, None].value > 0


def test_the_summary_has_rates_from_the_second_look_on(busy):
    node = busy.get("busy")["spec"]["nodeName"]
    json.loads(raw(busy.lab, node, "stats/summary"))
    found = json.loads(raw(busy.lab, node, "stats/summary"))
    (told,) = [p for p in found["pods"] if p["podRef"]["name"] == "busy"]
    assert told["podRef"]["uid"] == busy.get("busy")["metadata"]["uid"]
    assert {c["name"] for c in told["containers"]} == {"main", "idle"}
    assert found["node"]["cpu"]["usageNanoCores"] > 0 and found["node"]["memory"]["workingSetBytes"] > 0
    assert all(c["cpu"]["usageCoreNanoSeconds"] > 0 and c["memory"]["workingSetBytes"] > 0 for c in told["containers"])


def test_whoever_may_reads_a_nodes_metrics_with_a_token_and_nothing_else(busy):
    node, address = busy.get("busy")["spec"]["nodeName"], busy.get("busy")["status"]["hostIP"]
    token = busy.kubectl("create", "token", "default").strip()
    command = [KUBECTL, "--server", f"https://{address}:10250", "--insecure-skip-tls-verify", "--token", token, "get", "--raw"]

    def answer(path):
        return busy.lab.node(node, "sh", "-c", f"{shlex.join([*command, path])} 2>&1; true")

    def refused(path):
        return "forbidden" in answer(path).lower()

    assert refused("/metrics/resource")
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": busy.namespace}
    busy.apply({**ROLE, "subjects": [subject]})
    try:
        busy.lab.wait_for("the metrics", lambda: "node_cpu_usage_seconds_total" in answer("/metrics/resource"))
        assert refused("/stats/summary") and refused("/pods")
    finally:
        busy.kubectl("delete", "clusterrolebinding", "usage-scraper")
