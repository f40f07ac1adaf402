"""`moorings server` and `moorings agent` started by hand, as an operator does on two hosts: namespaces stand for the hosts."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorings_labs import cgroups, golden
from moorings_labs.cluster import CommandFailed, run

pytestmark = [pytest.mark.node, pytest.mark.timeout(180)]
MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
SERVER, NODE = "198.18.7.1", "198.18.7.2"
START = "mount --make-rshared / && mount -t tmpfs none /run/containerd && containerd --config {toml} & exec {agent}"
READY = '{.items[*].metadata.name} {.items[*].status.conditions[?(@.type=="Ready")].status}'
POD = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "moorings.dev/busybox:1", command: [sh, -c, "echo ready; sleep 3600"]}]
"""


class Hosts:
    """Two hosts on one wire: `server` and `node`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names = {host: f"h{os.getpid()}-{host}" for host in ("server", "node")}
        self.group = f"h{os.getpid()}"
        self.sockets = Path("/run/moorings") / self.group
        self._processes: list[subprocess.Popen[bytes]] = []
        server, node = self.names.values()
        for words in (
            f"netns add {server}", f"netns add {node}", f"-n {server} link add eth0 type veth peer name eth0 netns {node}",
            f"-n {server} address add {SERVER}/24 dev eth0", f"-n {node} address add {NODE}/24 dev eth0",
            f"-n {server} link set eth0 up", f"-n {node} link set eth0 up", f"-n {server} link set lo up", f"-n {node} link set lo up",
            f"-n {node} route add default via {SERVER}",
        ):  # fmt: skip
            run(["ip", *words.split()])

    def on(self, host: str, *command: str) -> list[str]:
        """Return the command as it is run on a host."""
        return ["nsenter", f"--net=/run/netns/{self.names[host]}", *command]

    def start(self, host: str, *command: str) -> None:
        """Start a program in a cgroup of its own; it runs until the test ends."""
        entering = cgroups.joined(cgroups.make(self.group, host), self.on(host, *command))
        with (self.directory / f"{host}.log").open("ab") as log:
            process = subprocess.Popen(entering, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Run kubectl on the server's host."""
        command = [str(Path(sys.executable).with_name("kubectl")), "--kubeconfig", str(self.directory / "data/pki/admin.kubeconfig")]
        return run(self.on("server", *command, *words), stdin=stdin).stdout

    def kubectl_until(self, wanted: str, *words: str) -> None:
        """Run kubectl until its output is what is wanted."""
        end, seen = time.monotonic() + 60, ""
        while seen != wanted:
            with contextlib.suppress(CommandFailed):
                seen = self.kubectl(*words)
            logs = "\n".join(p.read_text()[-2000:] for p in self.directory.glob("*.log"))
            assert time.monotonic() < end, f"{words}: {seen!r}, not {wanted!r}\n{logs}"
            time.sleep(0.1)

    def close(self) -> None:
        """End everything and take the wire away."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
        for host, name in self.names.items():
            run(["ip", "netns", "delete", name])
            cgroups.remove(self.group, host)
        shutil.rmtree(self.sockets, ignore_errors=True)


@pytest.fixture
def hosts(tmp_path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    yield made
    made.close()


def start_node(hosts: Hosts, credentials: Path) -> None:
    """Start containerd and the agent as one host has them: one mount namespace, one process tree."""
    root, sockets = hosts.directory / "node", hosts.sockets
    root.mkdir()
    golden.copy(golden.directory(), root / "containerd")
    sockets.mkdir(parents=True)
    toml = hosts.directory / "containerd.toml"
    toml.write_text(golden.configuration(root / "containerd", sockets, root / "agent", root / "registries"))
    options = ["--credentials", credentials, "--node-name", "node-1", "--node-ip", NODE, "--root", root / "agent", "--run", sockets]
    options += ["--cgroup", f"/{hosts.group}/node"]
    agent = " ".join(map(str, [*MOORINGS, "agent", *options, "--containerd-socket", sockets / "containerd.sock"]))
    shell = START.format(toml=toml, agent=agent)
    flags = ["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL", "--propagation", "private"]
    hosts.start("node", "unshare", *flags, "sh", "-c", shell)


def test_a_node_joins_by_its_credentials_and_runs_pods(hosts):
    data, credentials = hosts.directory / "data", hosts.directory / "credentials"
    hosts.start("server", *MOORINGS, "server", "--data", str(data), "--advertise", SERVER)
    hosts.kubectl_until("ok", "get", "--raw", "/readyz")
    run([*MOORINGS, "credentials", "node-1", "--address", NODE, "--server", SERVER, "--data", str(data), "--out", str(credentials)])
    start_node(hosts, credentials)
    hosts.kubectl_until("node-1 True", "get", "nodes", "-o", f"jsonpath={READY}")
    hosts.kubectl("apply", "-f", "-", stdin=POD)
    hosts.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
    assert hosts.kubectl("exec", "one", "--", "hostname") == "one\n"
    assert hosts.kubectl("logs", "one") == "ready\n"
    assert json.loads(hosts.kubectl("get", "node", "node-1", "-o", "json"))["status"]["addresses"][0]["address"] == NODE
    hosts.kubectl("delete", "pod", "one")


def test_an_agent_without_credentials_says_how_to_make_them(tmp_path):
    done = run([*MOORINGS, "agent", "--credentials", str(tmp_path), "--node-name", "node-7", "--node-ip", NODE], check=False)
    assert done.returncode == 1
    assert "`moorings credentials node-7` on the server" in done.stderr


def test_credentials_are_made_only_where_the_authority_is(tmp_path):
    words = ["credentials", "node-7", "--address", NODE, "--server", SERVER, "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    done = run([*MOORINGS, *words], check=False)
    assert done.returncode == 1
    assert "run this where `moorings server` has run" in done.stderr
    assert not (tmp_path / "out").exists()
