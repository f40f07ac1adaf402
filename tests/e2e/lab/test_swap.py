"""The exchange of the pod network on a running cluster, with traffic on it."""

import pytest

from moorings_labs.cluster import CommandFailed

from . import matrix, places
from .loads import load

pytestmark = pytest.mark.lab
RATE = 100


def route(lab, node: str, to: str) -> str:
    """Return how a node reaches another one's pods: the kernel's own word."""
    return lab.node(node, "ip", "-o", "route", "get", to)


def addresses(lab, namespace: str) -> dict[str, str]:
    return {p["metadata"]["name"]: p["status"]["podIP"] for p in lab.get("pods", "-n", namespace)["items"]}


def test_the_network_is_swapped_under_load_and_back_without_a_failed_request_or_a_broken_stream(lab, namespace):
    with places.outside(lab) as outside:
        world = matrix.build(lab, namespace, outside)
        before = addresses(lab, namespace)
        with places.echoing([world.one, world.two, world.three, *world.nodes, outside]):
            assert "dev moorings.vx" in route(lab, "node-1", world.three.address)
            try:
                for backend, device in (("routed", "dev eth0"), ("vxlan", "dev moorings.vx")):
                    swap_under_load(lab, world, backend)
                    assert device in route(lab, "node-1", world.three.address)
                    assert addresses(lab, namespace) == before
                    matrix.check(world)
            finally:
                lab.moorings("swap", "network", "vxlan")


def swap_under_load(lab, world: matrix.World, backend: str) -> None:
    """Swap while pods of two nodes ask each other; both directions have a stream."""
    to_three = [f"http://{world.three.address}:8080/name", f"echo://{world.three.address}:7777"]
    to_one = [f"http://{world.one.address}:8080/name", f"echo://{world.one.address}:7777"]
    with load(world.one, RATE, *to_three) as first, load(world.three, RATE, *to_one) as second:
        lab.moorings("swap", "network", backend)
    for report in (first, second):
        assert report["failures"] == [], f"of {report['requests']} requests"
        assert report["requests"] == report["answered"] >= RATE
        (stream,) = report["streams"].values()
        assert stream["error"] == "" and stream["echoed"] > 0


def test_a_network_that_is_not_installed_is_refused_with_the_names_of_those_that_are(lab):
    with pytest.raises(CommandFailed) as refused:
        lab.moorings("swap", "network", "carrier-pigeon")
    assert refused.value.done.returncode == 2
    assert "routed" in refused.value.done.stderr and "vxlan" in refused.value.done.stderr
