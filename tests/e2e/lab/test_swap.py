"""The exchange of the pod network on a running cluster, with traffic on it."""

import subprocess

import pytest

from moorings_core.kernel.namespaces import call_in
from moorings_labs.cluster import CommandFailed
from tests.traffic import ask_tcp

from . import matrix, places
from .loads import load

pytestmark = pytest.mark.lab
RATE = 50
DEVICES = {"routed": "dev eth0", "underlay": "dev eth0", "vxlan": "dev moorings.vx"}
ALL_PAIRS = ("routed", "underlay", "vxlan", "underlay", "routed", "vxlan")
"""From vxlan on: every ordered pair of modes once."""
DNS, NAME = "10.96.0.10", "kubernetes.default.svc.cluster.local"


def route(lab, node: str, to: str) -> str:
    """Return how a node reaches another one's pods: the kernel's own word."""
    return lab.node(node, "ip", "-o", "route", "get", to)


def addresses(lab, namespace: str) -> dict[str, str]:
    return {p["metadata"]["name"]: p["status"]["podIP"] for p in lab.get("pods", "-n", namespace)["items"]}


def test_the_network_is_swapped_under_load_between_all_modes_without_a_failed_request_or_a_broken_stream(lab, namespace):
    with places.outside(lab) as outside:
        world = matrix.build(lab, namespace, outside)
        before = addresses(lab, namespace)
        with places.echoing([world.one, world.two, world.three, *world.nodes, outside]):
            assert DEVICES["vxlan"] in route(lab, "node-1", world.three.address)
            try:
                for number, backend in enumerate(ALL_PAIRS):
                    swap_under_load(lab, world, backend)
                    assert DEVICES[backend] in route(lab, "node-1", world.three.address)
                    assert addresses(lab, namespace) == before
                    if number < 2:  # what test_network looks at in vxlan
                        matrix.check(world)
                        outsiders_reach(world, backend)
            finally:
                lab.moorings("swap", "network", "vxlan")


def outsiders_reach(world: matrix.World, backend: str) -> None:
    """Somebody on the segment reaches pods as if they were plugged into it, where nodes answer for them."""
    if backend == "underlay":
        call_in(world.outside.netns, lambda: subprocess.run(["ip", "route", "add", "10.64.0.0/16", "dev", "eth0"], check=True))
        assert ask_tcp(world.outside.netns, world.three.address) == f"{world.outside.address}/three"


def swap_under_load(lab, world: matrix.World, backend: str) -> None:
    """Swap while pods of two nodes ask each other, in both directions, by requests, a stream, datagrams and DNS."""
    urls = []
    for place in (world.three, world.one):
        here = f"{place.address}:7777"
        ways = [f"http://{place.address}:8080/name", f"keep://{here}", f"new://{here}"]
        urls.append([*ways, f"echo://{here}", f"bulk://{here}", f"udp://{here}", f"dns://{DNS}/{NAME}"])
    with load(world.one, RATE, *urls[0]) as first, load(world.three, RATE, *urls[1]) as second:
        lab.moorings("swap", "network", backend)
    for report in (first, second):
        assert report["failures"] == [], (
            f"of {report['requests']} requests, the slowest {report['slowest']:.1f} s; {report['streams']} {report['datagrams']}"
        )
        assert report["requests"] == report["answered"] >= RATE
        assert report["broken"] == 0
        assert [stream["error"] for stream in report["streams"].values() if stream["echoed"] > 0] == ["", ""]
        assert all(counts["asked"] == counts["answered"] > 0 for counts in report["datagrams"].values()), report["datagrams"]


def test_a_swap_that_one_node_cannot_follow_is_taken_back_everywhere_and_says_why(lab, namespace):
    lab.apply(places.web("stays", here="node-1", there="node-3"), namespace)
    here, there = places.pods(lab, namespace, "here", "there")
    # A device of that name that is none of ours: node-3 cannot go back to vxlan.
    lab.moorings("swap", "network", "routed")
    try:
        lab.node("node-3", "ip", "link", "add", "moorings.vx", "type", "bridge")
        with places.echoing([there]), load(here, RATE, f"http://{there.address}:8080/name", f"echo://{there.address}:7777") as report:
            with pytest.raises(CommandFailed) as refused:
                lab.moorings("swap", "network", "vxlan")
            assert "node-3: vxlan: interface moorings.vx is there already" in refused.value.done.stderr
            assert "taken back" in refused.value.done.stderr
            lab.wait_for("every node to be as before", lambda: {marks(n) for n in nodes(lab)} == {("routed", "routed", None)})
        assert report["failures"] == [] and all(s["error"] == "" for s in report["streams"].values())
        assert "moorings.vx" not in lab.node("node-1", "ip", "-o", "link")
    finally:
        lab.node("node-3", "ip", "link", "del", "moorings.vx", check=False)
        lab.moorings("swap", "network", "vxlan")


def nodes(lab):
    return [node["metadata"].get("annotations") or {} for node in lab.get("nodes")["items"]]


def marks(annotations) -> tuple[str, str, str | None]:
    accepts, sends, error = (annotations.get(f"moorings.dev/network-{word}") for word in ("accepts", "sends", "error"))
    return accepts, sends, error


def test_a_network_that_is_not_installed_is_refused_with_the_names_of_those_that_are(lab):
    with pytest.raises(CommandFailed) as refused:
        lab.moorings("swap", "network", "carrier-pigeon")
    assert refused.value.done.returncode == 2
    assert "routed" in refused.value.done.stderr and "vxlan" in refused.value.done.stderr
