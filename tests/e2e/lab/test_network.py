"""The pod network on a real lab: who reaches whom, and what a pod's network leaves on its node."""

import json
from pathlib import Path

import pytest

from . import matrix, places

pytestmark = pytest.mark.lab


def test_everybody_reaches_everybody_by_the_labs_transport(lab, namespace):
    with places.outside(lab) as outside:
        world = matrix.build(lab, namespace, outside)
        with places.echoing([world.one, world.two, world.three, *world.nodes, outside]):
            matrix.check(world)


def test_the_runtime_calls_the_plugin_by_cni_1_1_and_a_deleted_pod_leaves_no_link_and_no_route(lab, namespace):
    agent = places.layout(lab).node_root("node-1") / "agent"
    (conflist,) = (json.loads(file.read_text()) for file in (agent / "cni/conf.d").iterdir())
    (plugin,) = conflist["plugins"]
    version = json.loads(lab.node("node-1", "env", "CNI_COMMAND=VERSION", str(agent / "cni/bin" / plugin["type"])))
    assert "1.1.0" in conflist["cniVersions"] and "1.1.0" in version["supportedVersions"]
    lab.apply(places.web("leaves", goes="node-1"), namespace)
    (pod,) = places.pods(lab, namespace, "goes")
    link = lab.node("node-1", "ip", "route", "show", pod.address).split()[2]
    assert link in links(lab)
    lab.kubectl("delete", "pod", "goes", "-n", namespace)
    lab.wait_for("the pod's link to go", lambda: link not in links(lab))
    assert f"{pod.address} " not in lab.node("node-1", "ip", "route")
    assert not Path(pod.netns).exists()


def links(lab) -> list[str]:
    """Return the names of node-1's links to pods and to the switch."""
    return [link["ifname"] for link in json.loads(lab.node("node-1", "ip", "-json", "link", "show", "type", "veth"))]
