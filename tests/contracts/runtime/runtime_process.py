"""A real containerd in namespaces of its own, with the image that labs use: what the contract suite runs against."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from moorings_labs import cgroups, golden, images
from moorings_labs.init import __file__ as INIT
from moorings_labs.nodes import PRIVATE

START_SECONDS = 30.0
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child=SIGKILL", "--propagation", "private"]


class RuntimeProcess:
    """PID 1 of a node with nothing but containerd, which it starts again when that is killed."""

    def __init__(self, root: Path) -> None:
        self.name = f"moor-rt{os.getpid()}"
        self.root, self.run = root, Path("/run/moorings") / self.name
        self.socket = self.run / "containerd.sock"
        self.logs = root / "pods"

    def start(self) -> None:
        """Start it and import the images."""
        for directory in (self.root / "containerd", self.root / "agent", self.logs, self.run):
            directory.mkdir(parents=True)
        configuration = self.root / "containerd.toml"
        configuration.write_text(golden.configuration(self.root / "containerd", self.run, self.root / "agent", self.root / "registries"))
        command = ["containerd", "--config", str(configuration), "--log-level", "warn"]
        child = {"name": "containerd", "command": command, "log": str(self.root / "containerd.log")}
        config = {"hostname": "node", "tmpfs": PRIVATE, "binds": [[str(self.root), str(self.root)]], "sysctls": {}, "children": [child]}
        (self.root / "init.json").write_text(json.dumps(config))
        inside = [*UNSHARE, sys.executable, "-I", "-S", INIT, str(self.root / "init.json")]
        self._process = subprocess.Popen(cgroups.joined(cgroups.make(self.name, "node"), inside), start_new_session=True)
        images.busybox_archive(self.root / "images.tar")
        self._import()

    def _import(self) -> None:
        command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "import", str(self.root / "images.tar")]
        end = time.monotonic() + START_SECONDS
        while (done := subprocess.run([*self._enter(), *command], capture_output=True, text=True, check=False)).returncode:
            assert time.monotonic() < end, done.stderr + (self.root / "containerd.log").read_text()[-2000:]
            time.sleep(0.05)

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._first()), "--mount", "--net", "--pid", "--"] if self._first() else []

    def _first(self) -> int:
        return next(iter(_children(self._process.pid)), 0)

    def kill_runtime(self) -> None:
        """Kill -9 containerd; PID 1 starts it again."""
        for child in _children(self._first()):
            if Path(f"/proc/{child}/comm").read_text().strip() == "containerd":
                os.kill(child, signal.SIGKILL)

    def close(self) -> None:
        """Take everything away, as a power cut does."""
        if first := self._first():
            os.kill(first, signal.SIGKILL)
        self._process.kill()
        self._process.wait(10)
        cgroups.remove(self.name, "node")
        shutil.rmtree(self.run)


def _children(pid: int) -> list[int]:
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in file.read_text().split()] if pid and file.exists() else []
