"""The controllers on the real server: a process of its own with SQLite, driven over HTTPS, killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import yaml

from moorings_core.client.http import HttpClient
from moorings_core.client.resources import (
    BINDINGS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from moorings_core.ports.client import Create
from moorings_core.ports.errors import ApiError, Conflict, NotFound

NAMESPACE = "shop"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Server:
    """A `moorings server` process with api and controllers; survives being killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.config = folder / "cluster.yaml"
        text = {
            "apiVersion": "moorings/v1",
            "kind": "Cluster",
            "metadata": {"name": "test"},
            "server": {"run": ["api", "controllers"], "port": self.port},
            "lab": {"profile": "fast"},
        }
        self.config.write_text(yaml.safe_dump(text))

    async def start(self) -> HttpClient:
        """Start it and wait until it answers."""
        command = ["server", "--config", str(self.config), "--data", str(self.folder / "data")]
        self.log = (self.folder / "log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from moorings_core.cli import main; main()", *command),
            *("--advertise", "127.0.0.1", "--bind", "127.0.0.1"),
            stdout=self.log,
            stderr=self.log,
        )
        kubeconfig = self.folder / "data/pki/admin.kubeconfig"
        async with asyncio.timeout(30):
            while True:
                assert self.process.returncode is None, (self.folder / "log").read_text()
                if kubeconfig.exists():
                    client = HttpClient.from_kubeconfig(kubeconfig)
                    try:
                        await client.list(NAMESPACES)
                        return client
                    except ApiError:
                        await client.close()
                await asyncio.sleep(0.05)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End the process."""
        os.kill(self.process.pid, number)
        await asyncio.wait_for(self.process.wait(), 20)
        self.log.close()


class Nodes:
    """Two nodes without containers: they place pods, call them running, and let deleted ones go."""

    def __init__(self, client: HttpClient) -> None:
        self.client, self.names, self.silent = client, ["n1", "n2"], set()
        self.finish: dict[str, str] = {}

    async def run(self) -> None:
        """Act until cancelled; the server may be away."""
        while True:
            try:
                for name in self.names:
                    await self._beat(name)
                for pod in (await self.client.list(PODS)).items:
                    await self._act(pod)
            except (Conflict, NotFound):
                pass
            except ApiError as error:
                if error.code not in (503, 504):
                    raise
            await asyncio.sleep(0.05)

    async def _beat(self, name: str) -> None:
        if name in self.silent:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        try:
            node = await self.client.get(NODES, name)
            lease = await self.client.get(LEASES, name, "kube-node-lease")
        except NotFound:
            metadata = {"name": name, "namespace": "kube-node-lease"}
            await self.client.commit(
                [
                    Create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}),
                    Create(LEASES, {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": {}}),
                ]
            )
            return
        await self.client.update(LEASES, {**lease, "spec": {"holderIdentity": name, "renewTime": now}})
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", ())):
            ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "", "lastHeartbeatTime": now[:19] + "Z"}
            status = {**node.get("status", {}), "conditions": [ready | {"lastTransitionTime": now[:19] + "Z"}]}
            await self.client.update(NODES, {**node, "status": status}, subresource="status")

    async def _act(self, pod) -> None:
        metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
        node = spec.get("nodeName")
        if not node:
            if not metadata.get("deletionTimestamp"):
                alive = [name for name in self.names if name not in self.silent]
                target = {"kind": "Node", "name": alive[int(metadata["uid"][:8], 16) % len(alive)]}
                body = {"metadata": {"name": metadata["name"], "namespace": metadata["namespace"]}, "target": target}
                binding = {"apiVersion": "v1", "kind": BINDINGS.kind, **body}
                await self.client.create(PODS, binding, subresource="binding", name=metadata["name"])
            return
        if node in self.silent:
            return
        if metadata.get("deletionTimestamp"):
            await self.client.delete(PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace=0)
            return
        how = self.finish.get((metadata.get("labels") or {}).get("job-name", ""), "Running")
        if status.get("phase") in ("Pending", None):
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"type": "Ready", "status": "True" if how == "Running" else "False", "lastTransitionTime": now}
            ip = f"10.64.0.{int(metadata['uid'][:2], 16) % 250 + 1}"
            new = {**status, "phase": how, "conditions": [ready], "podIP": ip, "podIPs": [{"ip": ip}]}
            await self.client.update(PODS, {**pod, "status": new}, subresource="status")


@asynccontextmanager
async def cluster(folder: Path):
    """A server with nodes."""
    server = Server(folder)
    client = await server.start()
    nodes = Nodes(client)
    task = asyncio.create_task(nodes.run())
    try:
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield server, client, nodes
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()
        if server.process.returncode is None:
            await server.kill(signal.SIGTERM)
    text = (folder / "log").read_text()
    assert "Traceback" not in text, text


async def until(condition, seconds: float = 30):
    """Wait until an awaitable condition holds; return what it gave."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                if got := await condition():
                    return got
            except ApiError as error:
                if error.code not in (404, 503, 504):
                    raise
            await asyncio.sleep(0.05)


def web(image="v1", replicas=3):
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": NAMESPACE}, "spec": spec}


async def available(client, replicas=3):
    """Whether the deployment is fully rolled out."""
    found = await client.get(DEPLOYMENTS, "web", NAMESPACE)
    status = found.get("status", {})
    counts = [status.get(n, 0) for n in ("updatedReplicas", "replicas", "availableReplicas")]
    return counts == [replicas] * 3 and status.get("observedGeneration") == found["metadata"]["generation"]


async def test_deployment_service_rollout_undo_and_garbage(tmp_path):
    async with cluster(tmp_path) as (_, client, _nodes):
        await client.create(DEPLOYMENTS, web())
        service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
        metadata = {"name": "web", "namespace": NAMESPACE}
        await client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
        await until(lambda: available(client))

        async def endpoints():
            page = await client.list(ENDPOINT_SLICES, NAMESPACE)
            return sum(len(s["endpoints"]) for s in page.items) == 3

        await until(endpoints)
        assert (await client.get(SERVICE_ACCOUNTS, "default", NAMESPACE))["metadata"]["uid"]
        assert "BEGIN CERTIFICATE" in (await client.get(CONFIG_MAPS, "kube-root-ca.crt", NAMESPACE))["data"]["ca.crt"]
        nodes = (await client.list(NODES)).items
        assert len({n["spec"]["podCIDR"] for n in nodes}) == 2
        await client.patch(DEPLOYMENTS, "web", NAMESPACE, {"spec": web("v2")["spec"]})
        await until(lambda: available(client))
        await client.patch(DEPLOYMENTS, "web", NAMESPACE, {"spec": web("v1")["spec"]})
        await until(lambda: available(client))
        found = await client.get(DEPLOYMENTS, "web", NAMESPACE)
        assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
        sets = (await client.list(REPLICA_SETS, NAMESPACE)).items
        assert sorted(s["spec"]["replicas"] for s in sets) == [0, 3]

        async def at_rest():
            async def versions():
                pages = [(await client.list(r, NAMESPACE)).items for r in (DEPLOYMENTS, REPLICA_SETS, PODS, ENDPOINT_SLICES)]
                return [o["metadata"]["resourceVersion"] for items in pages for o in items]

            before = await versions()
            await asyncio.sleep(0.5)
            return before == await versions()

        await until(at_rest)
        reasons = {e["reason"] for e in (await client.list(EVENTS, NAMESPACE)).items}
        assert {"ScalingReplicaSet", "SuccessfulCreate"} <= reasons
        await client.delete(DEPLOYMENTS, "web", NAMESPACE, propagation="Foreground")

        async def gone():
            left = [len((await client.list(r, NAMESPACE)).items) for r in (DEPLOYMENTS, REPLICA_SETS, PODS)]
            return left == [0, 0, 0]

        await until(gone)


async def test_job_counts_over_a_killed_server(tmp_path):
    async with cluster(tmp_path) as (server, client, nodes):
        nodes.finish["count"] = "Succeeded"
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
        spec = {"completions": 12, "parallelism": 3, "template": template}
        metadata = {"name": "count", "namespace": NAMESPACE}
        await client.create(JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})

        async def some():
            return (await client.get(JOBS, "count", NAMESPACE)).get("status", {}).get("succeeded", 0) >= 2

        await until(some)
        await server.kill()
        await (await server.start()).close()

        async def complete():
            told = (await client.get(JOBS, "count", NAMESPACE)).get("status", {}).get("conditions", ())
            return any(c["type"] == "Complete" and c["status"] == "True" for c in told)

        await until(complete)
        found = await client.get(JOBS, "count", NAMESPACE)
        pods = (await client.list(PODS, NAMESPACE)).items
        assert found["status"]["succeeded"] == 12 == len(pods)
        assert not any(p["metadata"].get("finalizers") for p in pods)


async def test_a_namespace_goes_with_all_that_is_in_it(tmp_path):
    async with cluster(tmp_path) as (_, client, _nodes):
        await client.create(DEPLOYMENTS, web())
        for number in range(5):
            metadata = {"name": f"s{number}", "namespace": NAMESPACE}
            await client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        await until(lambda: available(client))
        await client.delete(NAMESPACES, NAMESPACE)

        async def gone():
            return NAMESPACE not in {n["metadata"]["name"] for n in (await client.list(NAMESPACES)).items}

        await until(gone)
        for resource in (PODS, SECRETS, DEPLOYMENTS, REPLICA_SETS, CONFIG_MAPS, EVENTS):
            assert not (await client.list(resource, NAMESPACE)).items, resource.plural


async def test_pods_of_a_silent_node_run_elsewhere(tmp_path):
    async with cluster(tmp_path) as (_, client, nodes):
        await client.create(DEPLOYMENTS, web(replicas=6))
        await until(lambda: available(client, 6))
        used = {p["spec"]["nodeName"] for p in (await client.list(PODS, NAMESPACE)).items}
        silent = min(used)
        nodes.silent.add(silent)

        async def moved():
            pods = (await client.list(PODS, NAMESPACE)).items
            ready = [p for p in pods if p["spec"].get("nodeName") not in (None, silent) and p["status"].get("phase") == "Running"]
            return len([p for p in ready if not p["metadata"].get("deletionTimestamp")]) == 6

        await until(moved, 60)
        node = await client.get(NODES, silent)
        assert ("node.kubernetes.io/unreachable", "NoExecute") in {(t["key"], t["effect"]) for t in node["spec"]["taints"]}
        old = [p for p in (await client.list(PODS, NAMESPACE)).items if p["spec"].get("nodeName") == silent]
        assert all(p["metadata"].get("deletionTimestamp") for p in old), json.dumps(old)[:500]
