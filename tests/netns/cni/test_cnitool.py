"""The reference runtime library drives the plugin: cnitool of github.com/containernetworking/cni."""

import json
import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.netns
TOOL = shutil.which("cnitool", path=os.environ.get("PATH", "") + os.pathsep + os.path.expanduser("~/go/bin"))


@pytest.mark.skipif(not TOOL, reason="no cnitool: go install github.com/containernetworking/cni/cnitool@v1.3.1")
def test_the_whole_life_of_an_attachment(fabric):
    node = fabric(nodes=1).nodes[0]
    pod = node.pod()
    environment = {
        "CNI_PATH": str(node.root / "cni/bin"), "NETCONFPATH": str(node.conflist.parent), "PATH": "/usr/bin:/bin",
        "CAP_ARGS": json.dumps({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}),
    }  # fmt: skip
    for verb in ("status", "add", "check", "gc", "del", "del"):
        done = subprocess.run([TOOL, verb, "moorings", pod.path], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{verb}: {done.stderr}"
        if verb == "add":
            assert json.loads(done.stdout)["cniVersion"] == "1.1.0", "the highest that both sides know"
            assert "tcp . 8080" in node.sh("nft", "list map inet moorings_net port4")
