"""The server is killed with -9 at bad moments: nothing acknowledged is lost, pods go on serving, work goes on where it stood."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
import yaml

from moorings_labs import audit, layout

pytestmark = pytest.mark.lab
IMAGE = "moorings.dev/busybox:1"
WRITERS, EACH = 4, 300


def kill_server(lab):
    """Kill it at once; its node starts it again."""
    (server,) = audit.processes_of(layout.find(lab.name).id, "moorings_core.cli server")
    os.kill(server, signal.SIGKILL)


def wait_server(lab):
    lab.wait_for("the server answers", lambda: lab.kubectl("get", "--raw", "/readyz").stdout == "ok")


def deployment(version, replicas=6):
    main = {"name": "main", "image": IMAGE, "command": ["sleep", "3600"], "env": [{"name": "VERSION", "value": version}]}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [main]}}
    full = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": full})


class Writer:
    """`kubectl create` of many ConfigMaps, each acknowledged by a line."""

    def __init__(self, lab, namespace, number):
        def item(n):
            metadata = {"name": f"w{number}-{n}"}
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": "x" * 500}}

        command = [*lab.kubectl_command(), "create", "-n", namespace, "-f", "-"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.process.stdin.write(json.dumps({"apiVersion": "v1", "kind": "List", "items": [item(n) for n in range(EACH)]}))
        self.process.stdin.close()

    def acknowledged(self, least=0):
        """Read lines, all or until there are `least`."""
        found = set()
        for line in self.process.stdout:
            found.add(line.split()[0].removeprefix("configmap/"))
            if least and len(found) >= least:
                return found
        return found

    def end(self):
        self.process.wait(60)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.mark.timeout(180)
def test_every_acknowledged_write_survives_and_pods_do_not_notice(lab, namespace):
    serve = "mkdir /www && echo up >/www/index.html && exec httpd -f -p 8080 -h /www"
    server = {"name": "main", "image": IMAGE, "command": ["sh", "-c", serve], "ports": [{"containerPort": 8080}]}
    server["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "server"}}
    lab.apply(yaml.safe_dump({**pod, "spec": {"terminationGracePeriodSeconds": 0, "containers": [server]}}), namespace)
    lab.wait_ready("server", namespace=namespace)
    address = lab.pod_ip("server", namespace)
    ask = f"n=0; while wget -q -O - http://{address}:8080/ >/dev/null || echo lost; do n=$((n+1)); echo $n; sleep 0.05; done"
    client = {"name": "main", "image": IMAGE, "command": ["sh", "-c", ask]}
    body = {"terminationGracePeriodSeconds": 0, "containers": [client]}
    lab.apply(yaml.safe_dump({**pod, "metadata": {"name": "client"}, "spec": body}), namespace)
    lab.wait_ready("client", namespace=namespace)
    before = {p["metadata"]["name"]: p["status"]["containerStatuses"][0]["containerID"] for p in lab.get("pods", "-n", namespace)["items"]}
    newest = int(json.loads(lab.kubectl("get", "--raw", "/api/v1/nodes").stdout)["metadata"]["resourceVersion"])

    writers = [Writer(lab, namespace, n) for n in range(WRITERS)]
    first = writers[0].acknowledged(least=20)
    kill_server(lab)
    acknowledged = first.union(*(w.acknowledged() for w in writers))
    for writer in writers:
        writer.end()
    wait_server(lab)

    stored = {i["metadata"]["name"]: i for i in lab.get("configmaps", "-n", namespace)["items"]}
    assert len(acknowledged) >= 20
    assert len(acknowledged) < WRITERS * EACH, "the server was killed after all was written: this shows nothing"
    assert acknowledged <= set(stored)
    assert all(len(i["data"]["v"]) == 500 for n, i in stored.items() if n.startswith("w")), "no half-written object"
    version = int(json.loads(lab.kubectl("get", "--raw", "/api/v1/nodes").stdout)["metadata"]["resourceVersion"])
    assert version >= newest + len(acknowledged), "the revision never goes back"
    lab.kubectl("create", "configmap", "after", "-n", namespace)

    after = {p["metadata"]["name"]: p["status"]["containerStatuses"][0]["containerID"] for p in lab.get("pods", "-n", namespace)["items"]}
    assert after == before
    seen = lab.kubectl("logs", "client", "-n", namespace, "--tail=1").stdout
    log = lab.wait_for("requests after the restart", lambda: (t := lab.kubectl("logs", "client", "-n", namespace).stdout) != seen and t)
    assert "lost" not in log


@pytest.mark.timeout(180)
def test_a_rollout_goes_on_after_kills_in_its_middle(lab, namespace):
    ns = ("-n", namespace)
    lab.apply(deployment("one"), namespace)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")
    lab.apply(deployment("two"), namespace)
    for _ in range(2):
        kill_server(lab)
        wait_server(lab)
    lab.kubectl("rollout", "status", "deployment/web", *ns, "--timeout=60s")

    def settled():
        pods = lab.get("pods", *ns)["items"]
        return len(pods) == 6 and {p["spec"]["containers"][0]["env"][0]["value"] for p in pods} == {"two"}

    lab.wait_for("six pods of the new revision and none else", settled)
    assert sorted(s["spec"]["replicas"] for s in lab.get("replicasets", *ns)["items"]) == [0, 6]
    nodes = lab.get("nodes")["items"]
    assert all(c["status"] == "True" for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready")


@pytest.mark.timeout(180)
def test_a_job_counts_each_pod_once_over_a_kill(lab, namespace):
    ns = ("-n", namespace)
    body = {"restartPolicy": "Never", "containers": [{"name": "main", "image": IMAGE, "command": ["true"]}]}
    spec = {"completions": 8, "parallelism": 3, "template": {"spec": body}}
    lab.apply(yaml.safe_dump({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "count"}, "spec": spec}), namespace)
    lab.wait_for("it has begun", lambda: lab.get("job", "count", *ns).get("status", {}).get("succeeded", 0) > 0)
    kill_server(lab)
    wait_server(lab)
    lab.kubectl("wait", "--for=condition=Complete", "job/count", *ns, "--timeout=60s")
    status = lab.get("job", "count", *ns)["status"]
    assert (status["succeeded"], status.get("failed", 0)) == (8, 0)
    assert len(lab.get("pods", *ns)["items"]) == 8
