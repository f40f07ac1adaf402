"""`moorings proxy` in place of kube-proxy: a real API server, a real kernel, unmodified kubectl; all in one network namespace."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorings_core.kernel import bpf
from moorings_core.kernel.nftables.netns import call_in
from moorings_proxy.ebpf.source import missing
from tests.netns.proxy import netlab
from tests.token_kubeconfig import KUBECONFIG

pytestmark = pytest.mark.netns
PORT, VIP, TOKEN = 6443, "10.96.0.20", "administrator"
OBJECTS = """
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.64.0.0/16]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: %s, type: NodePort, ports: [{name: http, port: 80, nodePort: 30080, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [%s], conditions: {ready: true}, nodeName: n1}]
ports: [{name: http, port: 8080}]
"""


class Node:
    """The namespace with the API server in it, and whatever is started there."""

    def __init__(self, lab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        self.kubeconfig = directory / "kubeconfig"
        self.kubeconfig.write_text(KUBECONFIG % (PORT, TOKEN))

    @contextlib.contextmanager
    def running(self, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
        inside = ["nsenter", f"--net={self.lab.node}", *map(str, command)]  # `ip netns exec` would hide cgroups
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(inside, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(20)

    def server(self) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        config, pki = self.directory / "cluster.yaml", self.directory / "data" / "pki"
        config.write_text(f"server: {{run: [api], port: {PORT}}}\n")
        pki.mkdir(parents=True)
        (pki / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
        arguments = ("--config", config, "--data", self.directory / "data", "--advertise", "127.0.0.1", "--bind", "127.0.0.1")
        return self.running(sys.executable, "-m", "moorings_core.cli", "server", *arguments)

    def proxy(self, *more: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
        arguments = ("--kubeconfig", self.kubeconfig, "--hostname-override", "n1", *more)
        return self.running(sys.executable, "-m", "moorings_core.cli", "proxy", *arguments)

    def kubectl(self, *words: str, given: str = "", check: bool = True) -> str:
        command = ["ip", "netns", "exec", f"{self.lab.prefix}-node", "kubectl", "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=30)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def page(self, port: int, path: str) -> tuple[int, str]:
        """Return code and body of a page on loopback; (0, "") while nobody listens."""
        sock = call_in(self.lab.node, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        with sock:
            sock.settimeout(5)
            try:
                sock.connect(("127.0.0.1", port))
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                parts = []
                while data := sock.recv(65536):
                    parts.append(data)
            except ConnectionRefusedError:
                return 0, ""
        head, _, body = b"".join(parts).decode().partition("\r\n\r\n")
        return int(head.split()[1]), body

    def until(self, what, seconds: float = 30):
        """Return what() as soon as it is true."""
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, (self.directory / "log").read_text(errors="replace")[-3000:]
            time.sleep(0.05)
        return found


def answered(lab, where: str, address: str, port: int) -> str:
    try:
        return lab.tcp(where, address, port, 0.5).split()[0]
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return ""


def test_it_serves_what_the_api_says_tells_its_metrics_and_health_and_outlives_a_kill(tmp_path) -> None:
    with netlab.lab() as lab:
        (_, first, _), (_, second, _), _ = [lab.pod() for _ in range(3)]
        lab.serve("p1")
        lab.serve("p2")
        node = Node(lab, tmp_path)
        with node.server():
            node.until(lambda: node.kubectl("get", "--raw", "/readyz", check=False) == "ok")
            node.kubectl("apply", "-f", "-", given=OBJECTS % (VIP, first))
            with node.proxy() as proxy:
                node.until(lambda: answered(lab, "p3", VIP, 80) == "p1")
                assert answered(lab, "world", "172.30.0.2", 30080) == "p1"
                code, body = node.page(10256, "/healthz")
                health = json.loads(body)
                assert code == 200 and health["healthy"] and health["nodeEligible"] and set(health["status"]) == {"IPv4", "IPv6"}
                assert node.page(10249, "/proxyMode") == (200, "nftables")
                assert node.page(10249, "/nothing")[0] == 404
                metrics = node.page(10249, "/metrics")[1]
                assert 'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1.0' in metrics
                assert "kubeproxy_sync_proxy_rules_service_changes_total" in metrics
                os.kill(proxy.pid, signal.SIGKILL)
            assert answered(lab, "p3", VIP, 80) == "p1"  # the kernel serves on
            node.kubectl("patch", "endpointslice", "web-1", "--type=json", "-p", json.dumps(
                [{"op": "replace", "path": "/endpoints/0/addresses/0", "value": second}]
            ))  # fmt: skip
            with node.proxy():
                node.until(lambda: answered(lab, "p3", VIP, 80) == "p2")
                node.kubectl("taint", "node", "n1", "ToBeDeletedByClusterAutoscaler=x:NoSchedule")
                node.until(lambda: node.page(10256, "/healthz")[0] == 503)
                assert node.page(10256, "/livez")[0] == 200
                node.kubectl("delete", "endpointslice", "web-1")
                node.until(lambda: answered(lab, "p3", VIP, 80) == "refused")
                partial = 'kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv4"}'
                assert partial in node.page(10249, "/metrics")[1]
            with node.proxy("--cleanup") as cleaning:
                assert cleaning.wait(30) == 0
            assert "moorings" not in lab.run("node", "nft", "list", "tables")


def test_ebpf_serves_a_cgroup_outlives_its_process_and_is_cleaned_up(tmp_path) -> None:
    if lacking := missing():
        pytest.skip(lacking)
    with netlab.lab() as lab, netlab.cgroup(lab) as group:
        (_, first, _), *_ = [lab.pod() for _ in range(3)]
        lab.serve("p1")
        node, options = Node(lab, tmp_path), ("--backend", "ebpf", "--cgroup", group)
        pins = bpf.FILE_SYSTEM / "moorings" / str(lab.cgroup.stat().st_ino)
        with node.server():
            node.until(lambda: node.kubectl("get", "--raw", "/readyz", check=False) == "ok")
            node.kubectl("apply", "-f", "-", given=OBJECTS % (VIP, first))
            with node.proxy(*options):
                node.until(lambda: answered(lab, "p3", VIP, 80) == "p1")
                node.until(lambda: node.page(10249, "/proxyMode") == (200, "ebpf"))
                assert answered(lab, "world", "172.30.0.2", 30080) == "p1"
            assert answered(lab, "p3", VIP, 80) == "p1" and pins.exists()
            tracked = lab.run("node", "conntrack", "-L", "-p", "tcp")
            assert f"dst={first} " in tracked and f"dst={VIP} " not in tracked
            with node.proxy(*options, "--cleanup") as cleaning:
                assert cleaning.wait(30) == 0
        assert not pins.exists() and answered(lab, "p3", VIP, 80) == ""
