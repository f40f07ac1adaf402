"""Images that come from a registry: which one answers for it, every node's containerd reads from its hosts.toml."""

import pytest

from tests import registry

pytestmark = pytest.mark.lab
REGISTRY = "images.example"
IMAGE = f"{REGISTRY}/tools/busybox:2"
POD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: pulled}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: "{IMAGE}", imagePullPolicy: Always, command: [sleep, "3600"]}}]
"""


def test_an_image_is_pulled_always_from_the_registry_that_stands_in(lab, namespace, tmp_path):
    with registry.serving(lab, REGISTRY, tmp_path) as images:
        node = images.nodes[0]
        ctr = ("ctr", "--address", str(images.socket(node)), "--namespace", "k8s.io", "images")
        lab.node(node, *ctr, "tag", "moorings.dev/busybox:1", IMAGE)
        images.push(IMAGE)
        lab.node(node, *ctr, "rm", IMAGE)
        lab.apply(POD, namespace)
        lab.wait_ready("pulled", namespace=namespace)
        digest = lab.get("pod", "pulled", "-n", namespace)["status"]["containerStatuses"][0]["imageID"]
    assert digest.startswith(f"{REGISTRY}/tools/busybox@sha256:")
    asked = (tmp_path / "registry.log").read_text()
    assert "GET /v2/tools/busybox/blobs/" in asked or "HEAD /v2/tools/busybox/manifests/2" in asked
