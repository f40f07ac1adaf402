"""The pod network on a real lab: who reaches whom, and what a pod's network leaves on its node."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

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


def test_host_ports_of_a_pod_lead_to_it_from_outside_and_from_its_node(lab, namespace):
    tree = next(yaml.safe_load_all(places.web("ports", taker="node-1")))
    tree["spec"]["containers"][0]["ports"] = [{"containerPort": 8080, "name": "web", "hostPort": 18080}]
    lab.apply(json.dumps(tree), namespace)
    places.pods(lab, namespace, "taker")
    address = places.node(lab, "node-1").address
    with places.outside(lab) as outside:
        for where in (outside, places.node(lab, "node-2"), places.node(lab, "node-1")):
            page = ["nsenter", f"--net={where.netns}", "busybox", "wget", "-qO-", f"http://{address}:18080/name"]
            assert subprocess.run(page, capture_output=True, text=True, timeout=20).stdout == "taker\n", where.name


def links(lab) -> list[str]:
    """Return the names of node-1's links to pods and to the switch."""
    return [link["ifname"] for link in json.loads(lab.node("node-1", "ip", "-json", "link", "show", "type", "veth"))]
