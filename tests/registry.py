"""A real registry of container images on the machine's side of a lab: Debian's docker-registry, in the place of one out in the world."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moorings_labs import layout as layouts
from moorings_labs.cluster import Cluster

from .etcd_process import HERE

STARTS_WITHIN = 30.0
PORT = 5000
CONFIGURATION = """
version: 0.1
storage:
  filesystem: {{rootdirectory: {directory}}}
http: {{addr: "{address}"}}
"""
HOSTS = """
server = "http://{address}"
[host."http://{address}"]
  capabilities = ["pull", "resolve"]
"""


class Registry:
    """A registry that the nodes of one lab take for another, say registry.k8s.io."""

    def __init__(self, lab: Cluster, name: str) -> None:
        self._lab, self._name = lab, name
        self._layout = layouts.find(lab.name)
        self.address = f"{self._layout.address(254)}:{PORT}"

    @property
    def nodes(self) -> list[str]:
        """The nodes that run pods."""
        return [str(node["metadata"]["name"]) for node in self._lab.get("nodes")["items"]]

    def socket(self, node: str) -> Path:
        """Return the socket of a node's containerd."""
        return self._layout.node_run(node) / "containerd.sock"

    def stand_in(self) -> None:
        """Tell every node that the registry of that name is this one."""
        for node in self.nodes:
            directory = self._layout.registries(node) / self._name
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "hosts.toml").write_text(HOSTS.format(address=self.address))

    def push(self, *images: str) -> None:
        """Give it images that the first node has."""
        node = self.nodes[0]
        ctr = ["ctr", "--address", str(self.socket(node)), "--namespace", "k8s.io", "images", "push"]
        for image in images:
            there = f"{self.address}/{image.removeprefix(f'{self._name}/')}"
            self._lab.node(node, *ctr, "--plain-http", there, image, timeout=120)

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def serving(lab: Cluster, name: str, directory: Path) -> Iterator[Registry]:
    """Run a registry, and let the lab's nodes take it for the one of that name; its images are in the directory."""
    program = shutil.which("docker-registry", path=HERE / "build/bin")
    assert program, "docker-registry is missing: run labs/setup.sh tests"
    registry = Registry(lab, name)
    file, log = directory / "registry.yaml", directory / "registry.log"
    file.write_text(CONFIGURATION.format(directory=directory / "images", address=registry.address))
    with log.open("wb") as output:
        process = subprocess.Popen([program, "serve", str(file)], stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + STARTS_WITHIN
        while not registry.answers():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        registry.stand_in()
        yield registry
    finally:
        process.terminate()
        process.wait(20)
