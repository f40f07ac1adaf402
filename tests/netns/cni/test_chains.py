"""Beside the reference plugins v1.9.1, driven by cnitool: before and after them in chains, over and under their IPAM."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cni_support import sh, until
from tests.traffic import Echo, ask_tcp

pytestmark = pytest.mark.netns
TOOL = shutil.which("cnitool", path=os.environ.get("PATH", "") + os.pathsep + os.path.expanduser("~/go/bin"))
REFERENCE = Path(__file__).parents[3] / "build/bin/cni"
OURS = {"type": "moorings-cni", "capabilities": dict.fromkeys(("portMappings", "bandwidth", "ips", "mac", "dns", "ipRanges"), True)}
CAPABILITIES = {
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
    "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 16_000_000, "egressBurst": 800_000},
}
needs_tools = pytest.mark.skipif(not (TOOL and REFERENCE.is_dir()), reason="no cnitool or reference plugins: labs/setup.sh tests")


class Runtime:
    """cnitool with a list of plugins, inside a node's network namespace."""

    def __init__(self, node, directory: Path, name: str, *plugins, version: str = "1.1.0", **capabilities) -> None:
        self.node, self.name = node, name
        body = {"cniVersion": version, "name": name, "plugins": list(plugins)}
        (directory / f"{name}.conflist").write_text(json.dumps(body))
        paths = {"CNI_PATH": f"{node.root / 'cni/bin'}:{REFERENCE}", "NETCONFPATH": str(directory)}
        self.environment = {**os.environ, **paths, "CAP_ARGS": json.dumps(capabilities)}

    def __call__(self, verb: str, pod):
        command = ["nsenter", f"--net={self.node.path}", TOOL, verb, self.name, pod.path]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        return json.loads(done.stdout) if verb == "add" else None


@pytest.fixture
def node(fabric):
    return fabric(nodes=1).nodes[0]


def address(result) -> str:
    return result["ips"][0]["address"].split("/")[0]


@needs_tools
def test_before_the_reference_plugins_portmap_bandwidth_tuning_and_firewall(node, tmp_path):
    chain = (
        {**OURS, "capabilities": {}}, {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}}, {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}},
        {"type": "firewall"},
    )  # fmt: skip
    pod, runtime = node.pod(), Runtime(node, tmp_path, "before", *chain, **CAPABILITIES)
    runtime("status", pod)
    result = runtime("add", pod)
    runtime("check", pod)
    echo = Echo(pod.path, 80)
    assert ask_tcp(node.fabric.outside, node.address, 8080).startswith("192.168.77.200"), "portmap's hostPort leads to our pod"
    echo.close()
    assert sh("ip", "netns", "exec", pod.name, "sysctl", "-n", "net.core.somaxconn").strip() == "500"
    for verb in ("gc", "del", "del"):
        runtime(verb, pod)
    assert address(result) not in node.sh("ip", "route")


@needs_tools
def test_after_another_plugin_it_sees_to_ports_and_policies_and_passes_the_result_on(node, tmp_path):
    ipam = {"type": "host-local", "subnet": "10.77.0.0/24", "dataDir": str(tmp_path / "data"), "routes": [{"dst": "0.0.0.0/0"}]}
    ptp = {"type": "ptp", "ipam": ipam}
    pod, runtime = node.pod(), Runtime(node, tmp_path, "after", ptp, OURS, portMappings=CAPABILITIES["portMappings"])
    result = runtime("add", pod)
    assert address(result).startswith("10.77.0.") and len(result["ips"]) == 1 and len(result["interfaces"]) == 2
    echo = Echo(pod.path, 80)
    assert ask_tcp(node.fabric.outside, node.address, 8080).startswith("192.168.77.200")
    echo.close()
    runtime("check", pod)
    runtime("del", pod)
    assert "8080" not in node.sh("nft", "list", "map", "inet", "moorings_net", "port4")
    assert not list((tmp_path / "data/after").glob("10.77.*"))


@needs_tools
@pytest.mark.parametrize("version", ["0.3.1", "1.1.0"])
def test_over_the_addresses_of_host_local_and_static(node, tmp_path, version):
    data = tmp_path / "data"
    for name, ipam in (
        ("local", {"type": "host-local", "subnet": "10.78.0.0/24", "dataDir": str(data)}),
        ("fixed", {"type": "static", "addresses": [{"address": "10.79.0.5/24"}]}),
    ):
        pod, runtime = node.pod(), Runtime(node, tmp_path, name, {**OURS, "ipam": ipam}, version=version)
        result = runtime("add", pod)
        assert address(result).startswith(("10.78.0.", "10.79.0.5")) and result["cniVersion"] == version
        echo = Echo(pod.path, 80)
        assert ask_tcp(node.path, address(result), 80)
        echo.close()
        if version == "1.1.0":
            for verb in ("status", "check", "gc"):
                runtime(verb, pod)
        runtime("del", pod)
        assert address(result) not in node.sh("ip", "route")
    assert not list(data.glob("local/10.78.*")), "the delegate has its address back"


@needs_tools
def test_its_addresses_alone_serve_bridge_and_ptp(node, tmp_path):
    for kind in ({"type": "bridge", "bridge": "cni9", "isGateway": True}, {"type": "ptp"}):
        pods = [node.pod(), node.pod()]
        runtime = Runtime(node, tmp_path, f"lent-{kind['type']}", {**kind, "ipam": {"type": "moorings-ipam"}})
        results = [runtime("add", pod) for pod in pods]
        assert {ip["gateway"] for result in results for ip in result["ips"]} == {"10.64.1.1"}
        assert len({address(result) for result in results} | {"10.64.1.1"}) == 3
        echo = Echo(pods[1].path, 80)
        assert ask_tcp(node.path, address(results[1]), 80)
        echo.close()
        for pod in pods:
            runtime("check", pod)
            runtime("del", pod)
    assert node.submit(held(node)) == 0


async def held(node) -> int:
    return len(node.exchange.component.network.ipam.attachments)


@needs_tools
def test_capabilities_fix_address_and_mac_pass_dns_on_and_limit_both_directions(node, tmp_path):
    wishes = {"ips": ["10.64.1.99/24"], "mac": "02:00:00:00:00:63", "dns": {"servers": ["10.96.0.10"], "searches": ["x"]}}
    pod, runtime = node.pod(), Runtime(node, tmp_path, "wishes", OURS, **wishes, bandwidth=CAPABILITIES["bandwidth"])
    result = runtime("add", pod)
    assert address(result) == "10.64.1.99" and result["dns"] == {"nameservers": ["10.96.0.10"], "search": ["x"]}
    assert result["interfaces"][1]["mac"] == "02:00:00:00:00:63"
    runtime("check", pod)
    assert "rate 8Mbit" in node.sh("tc", "qdisc", "show", "dev", result["interfaces"][0]["name"])
    assert "rate 16Mbit" in sh("ip", "netns", "exec", pod.name, "tc", "qdisc", "show", "dev", "eth0")
    echo = Echo(pod.path, 80)
    start = time.monotonic()
    ask_tcp(node.path, "10.64.1.99", 80, size=1_500_000, timeout=20)
    assert time.monotonic() - start > 0.5, "1.5 MB less a burst of 0.25 MB at 1 MB a second: never faster, however fast the machine"
    echo.close()
    sh("ip", "netns", "exec", pod.name, "tc", "qdisc", "del", "dev", "eth0", "root")
    with pytest.raises(AssertionError, match=re.escape("egress bandwidth is not limited, not to 16000000")):
        runtime("check", pod)
    runtime("del", pod)


def test_nothing_is_left_when_the_addresses_of_another_plugin_cannot_be_had(node):
    pod = node.pod()
    code, error = pod.cni("ADD", ipam={"type": "no-such-ipam"})
    assert code and "no-such-ipam in CNI_PATH" in error["msg"]
    code, error = pod.cni("ADD", ipam={"type": "../bin/sh"})
    assert code and error["code"] == 7
    until(lambda: node.submit(held(node)) == 0)
