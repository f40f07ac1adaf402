"""A backend from a package that is not ours is chosen by its name in the cluster file, and exchanged for one of ours."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from moorings_labs.cluster import run

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
FILE = """
network: {backend: ferry, swapTo: [ferry, vxlan]}
lab:
  profile: fast
  nodes:
  - {name: server, roles: [server]}
  - {count: 2}
"""
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: west}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "moorings.dev/busybox:1", command: [sh, -c, "echo ashore > /index.html; exec httpd -f -p 8080 -h /"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: east}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "moorings.dev/busybox:1", command: [sleep, "3600"]}]
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A directory on Python's path that holds the package as an installer would put it there."""
    site = tmp_path / "site"
    metadata = site / "ferry-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "ferry" / "ferry.py", site)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: ferry\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[moorings.network]\nferry = ferry:backend\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(FILE)
    return path


def test_without_the_package_the_name_is_unknown(file):
    refused = run([*MOORINGS, "up", "-f", str(file), "--name", f"f{os.getpid()}"], check=False)
    assert refused.returncode == 2
    assert "no network backend 'ferry'; installed: routed, underlay, vxlan" in refused.stderr


def test_with_the_package_it_carries_pods_by_its_own_routes_and_can_be_exchanged(installed, make_lab):
    lab = make_lab(FILE)
    lab.apply(PODS)
    lab.wait_ready("west", "east")
    url = f"http://{lab.pod_ip('west')}:8080/"
    assert lab.exec("east", "timeout", "5", "wget", "-qO-", url).stdout == "ashore\n"
    routes = json.loads(lab.node("node-2", "ip", "-j", "route", "show", "proto", "99"))
    assert [route["gateway"] for route in routes] == [lab.get("node", "node-1")["status"]["addresses"][0]["address"]]
    lab.moorings("swap", "network", "vxlan")
    assert lab.exec("east", "timeout", "5", "wget", "-qO-", url).stdout == "ashore\n"
    assert json.loads(lab.node("node-2", "ip", "-j", "route", "show", "proto", "99") or "[]") == []
