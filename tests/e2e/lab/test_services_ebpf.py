"""Services by the ebpf backend on a lab: each node's programs lead its own pods, and nothing of them is left when it is off."""

import pytest

from moorings_core.kernel import bpf
from moorings_proxy.ebpf.source import missing
from tests.e2e.lab import places

from .echoes import PODS, SERVICE

pytestmark = pytest.mark.lab
LAB = """
services: {backend: ebpf}
lab: {nodes: [{name: server, roles: [server]}, {count: 2}]}
"""
SCRIPT = "for i in $(seq 24); do timeout 5 wget -qO- http://{}/name; done"


def answering(lab, pod: str, name: str) -> set[str]:
    return set(lab.exec(pod, "sh", "-c", SCRIPT.format(name), check=False).stdout.split())


def pinned() -> set[str]:
    """Return what the machine itself has pinned."""
    return {str(path) for path in (bpf.FILE_SYSTEM / "moorings").glob("*")}


def links(lab, node: str) -> int:
    return lab.node(node, "find", "/sys/fs/bpf", "-name", "link-*", check=False).count("link-")


def translated(lab, node: str, address: str) -> bool:
    """Whether the node's kernel tracks a flow to a Service's address, which is one that it translates."""
    return f"dst={address} " in lab.node(node, "conntrack", "-L", "-p", "tcp", check=False)


@pytest.mark.timeout(240)
def test_pods_are_led_to_endpoints_of_every_node_through_kills_and_exchanges(make_lab) -> None:
    if lacking := missing():
        pytest.skip(lacking)
    before = pinned()
    lab = make_lab(LAB)
    lab.apply(PODS + "\n---\n" + SERVICE)
    lab.wait_ready("one", "two")
    address = lab.get("service", "echo")["spec"]["clusterIP"]
    for pod in ("one", "two"):
        lab.wait_for(f"both pods to answer {pod}", lambda pod=pod: answering(lab, pod, "echo") == {"one", "two"})
    assert not any(translated(lab, node, address) for node in ("node-1", "node-2"))
    assert links(lab, "node-1") == links(lab, "node-2") == 8
    places.kill_agent(lab, "node-1")
    lab.wait_for("both pods to answer", lambda: answering(lab, "one", address) == {"one", "two"})
    assert not translated(lab, "node-1", address) and links(lab, "node-1") == 8
    for backend, count in (("nftables", 0), ("ebpf", 8)):
        lab.moorings("swap", "proxy", backend)
        lab.wait_for(f"{backend} alone", lambda count=count: links(lab, "node-1") == links(lab, "node-2") == count)
        assert answering(lab, "one", "echo") == {"one", "two"}
    assert translated(lab, "node-1", address)  # by nftables, before
    lab.kubectl("delete", "pod", "two", "--wait=true")
    lab.wait_for("one alone", lambda: answering(lab, "one", address) == {"one"})
    assert pinned() == before, "each node has a BPF file system of its own, which goes with it"
