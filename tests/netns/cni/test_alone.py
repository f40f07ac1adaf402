"""`moorings cni serve` on a machine without any cluster: cnitool, kill -9, restart; and upstream's own integration suite."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from cni_support import counter, sh, until
from tests.differential import peers
from tests.token_kubeconfig import KUBECONFIG
from tests.traffic import Echo, ask_tcp

from moorings_cni.commands import cni
from moorings_core.kernel.namespaces import call_in
from moorings_core.ports.network import RANGES

pytestmark = pytest.mark.netns
TOOL = shutil.which("cnitool", path=os.environ.get("PATH", "") + os.pathsep + os.path.expanduser("~/go/bin"))
needs_cnitool = pytest.mark.skipif(not TOOL, reason="no cnitool: labs/setup.sh tests")


class Machine:
    """A network namespace that stands for a machine, and `moorings cni serve` in it."""

    def __init__(self, directory: Path) -> None:
        self.name, self.directory = f"ma{os.getpid()}x{next(counter)}", directory
        self.names = [self.name]
        sh("ip", "netns", "add", self.name)
        sh("ip", "-n", self.name, "link", "set", "lo", "up")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        options = {name: str(self.directory / name.strip("-")) for name in ("--bin-dir", "--conf-dir", "--root", "--run")}
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", "moorings_core.cli", "cni", "serve"]
        self.conflist.unlink(missing_ok=True)
        self.process = subprocess.Popen([*command, *(word for pair in options.items() for word in pair), *words])
        until(lambda: self.conflist.exists() or self.process.poll() is not None, what="it serves")  # type: ignore[union-attr]

    @property
    def conflist(self) -> Path:
        return self.directory / "conf-dir/10-moorings.conflist"

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def sandbox(self) -> str:
        name = f"{self.name}p{len(self.names)}"
        sh("ip", "netns", "add", name)
        self.names.append(name)
        return f"/run/netns/{name}"

    def cnitool(self, verb: str, sandbox: str):
        environment = {**os.environ, "CNI_PATH": str(self.directory / "bin-dir"), "NETCONFPATH": str(self.conflist.parent)}
        done = subprocess.run([TOOL, verb, "moorings", sandbox], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        return json.loads(done.stdout) if verb == "add" else None

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.close()


@needs_cnitool
def test_it_serves_with_no_cluster_at_all_and_pods_outlive_its_death(machine):
    machine.start("--pod-cidr", "fd00:9::/64", "--pod-cidr", "10.99.0.0/24", "--mtu", "1400")
    one, two = machine.sandbox(), machine.sandbox()
    results = [machine.cnitool("add", sandbox) for sandbox in (one, two)]
    first, second = ([ip["address"].split("/")[0] for ip in result["ips"]] for result in results)
    assert first == ["10.99.0.1", "fd00:9::1"] and results[0]["interfaces"][1]["mtu"] == 1400
    machine.cnitool("status", one)
    machine.cnitool("check", one)
    machine.stop(signal.SIGKILL)
    echo = Echo(two, 80)
    assert ask_tcp(one, second[0], 80) == first[0], "they reach each other while nobody serves"
    echo.close()
    machine.start("--pod-cidr", "10.99.0.0/24", "--pod-cidr", "fd00:9::/64", "--mtu", "1400")
    machine.cnitool("check", two)
    third = machine.cnitool("add", machine.sandbox())
    assert third["ips"][0]["address"].split("/")[0] not in (first[0], second[0])
    for sandbox in (one, two):
        machine.cnitool("del", sandbox)
    assert "10.99.0.1 " not in sh("ip", "-n", machine.name, "route")


@needs_cnitool
def test_in_a_cluster_it_claims_blocks_of_the_pod_cidr_for_a_node_that_has_none(machine, tmp_path):
    for words in ("link add eth0 type bridge", "address add 192.168.77.1/24 dev eth0", "link set eth0 up"):
        sh("ip", "-n", machine.name, *words.split())
    api = call_in(f"/run/netns/{machine.name}", lambda: peers.moorings(tmp_path / "api"))
    try:

        def ask(method: str, path: str, body=None):
            found = call_in(f"/run/netns/{machine.name}", lambda: api.ask(peers.Request(method, path, body)))
            assert found.code in (200, 201), found.body
            return found.body

        ask("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG % (api.port, peers.TOKEN))
        options = ("--kubeconfig", str(kubeconfig), "--node-name", "n1", "--node-ip", "192.168.77.1")
        machine.start(*options, "--pod-cidr", "10.99.0.0/24", "--block-size", "28")
        sandboxes = [machine.sandbox() for _ in range(15)]
        given = []
        for sandbox in sandboxes:
            given.append(machine.cnitool("add", sandbox)["ips"][0]["address"])
            claim = ask("GET", "/api/v1/namespaces/kube-system/configmaps/moorings-pod-blocks")["data"]["n1"]
            if len(given) == 13:
                until(lambda: len(ask("GET", "/api/v1/nodes/n1")["metadata"]["annotations"][RANGES].split()) == 2, what="one block more")
        assert len(set(given)) == 15 and claim.split() == ["10.99.0.0/28", "10.99.0.16/28"]
        for sandbox in sandboxes:
            machine.cnitool("del", sandbox)
        until(lambda: len(ask("GET", "/api/v1/nodes/n1")["metadata"]["annotations"][RANGES].split()) == 1, what="it is given back")
    finally:
        api.close()


def test_what_it_cannot_be_told_is_refused_with_the_option_that_is_wrong():
    cluster = ["--kubeconfig", "k", "--node-ip", "192.0.2.1"]
    for words, complaint in (
        ([], "either --pod-cidr"),
        (["--pod-cidr", "x"], "--pod-cidr: 'x'"),
        (["--kubeconfig", "k"], "--node-ip"),
        ([*cluster, "--block-size", "26"], "--block-size goes with"),
        ([*cluster, "--pod-cidr", "10.0.0.0/16"], "--block-size goes with"),
    ):
        done = CliRunner().invoke(cni, ["serve", *words])
        assert done.exit_code == 2 and complaint in done.output, done.output


SERVER = """#!/bin/sh
# Upstream's suite makes a host namespace for each test: the first call in one starts the server there.
directory={base}/$(stat -L -c %i /proc/self/ns/net)
if mkdir "$directory" 2>/dev/null; then
    ip address add 192.0.2.1/32 dev lo  # a machine has an address; the suite's have none
    ip link set lo up
    {python} -m moorings_core.cli cni serve --pod-cidr 10.200.0.0/24 --bin-dir "$directory/bin" --conf-dir "$directory/conf" \\
        --root "$directory/root" --run "$directory/run" >"$directory/log" 2>&1 </dev/null &
    echo $! >"$directory/pid"
fi
tries=0
while [ ! -e "$directory/conf/10-moorings.conflist" ] && [ $tries -lt 400 ]; do sleep 0.05; tries=$((tries + 1)); done
exec "$directory/bin/moorings-cni"
"""
MODULE = Path(__file__).parents[3] / "build/cni-plugins"


@needs_cnitool
@pytest.mark.skipif(
    not (MODULE.is_dir() and shutil.which("go")), reason="no source of the reference plugins, or no Go: labs/setup.sh tests"
)
def test_upstreams_integration_suite_passes_with_our_plugin_in_the_place_of_theirs(tmp_path):
    copied, base = tmp_path / "plugins", tmp_path / "servers"
    shutil.copytree(MODULE, copied)
    base.mkdir()
    shutil.copytree(MODULE.parent / "bin/cni", copied / "bin")
    wrapper = copied / "bin/moorings-cni"
    wrapper.write_text(SERVER.format(base=base, python=sys.executable))
    wrapper.chmod(0o755)
    for file in filter(Path.is_file, (copied / "integration/testdata").rglob("*")):
        file.write_text(re.sub(r'"type": "(ptp|bridge)"', '"type": "moorings-cni"', file.read_text()))
    environment = {**os.environ, "PATH": f"{Path(TOOL or '').parent}:{os.environ['PATH']}", "GOFLAGS": "-mod=mod"}
    # Its third test waits 18 s for a slow transfer: the bandwidth plugin behind ours is what test_chains looks at.
    command = ["go", "test", "-count=1", "./integration", "-args", "-ginkgo.focus", os.environ.get("MOORINGS_CNI_FOCUS", "basic cases")]
    try:
        done = subprocess.run(command, cwd=copied, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(base.iterdir()), "ours was asked"
    finally:
        for file in base.glob("*/pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)
