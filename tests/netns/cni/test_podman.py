"""`moorings cni serve` under podman: a runtime of another family, with the plugin and the configuration list that are installed for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cni_support import counter, sh, until

pytestmark = pytest.mark.netns
TREE = Path(__file__).parents[3] / "build" / "podman"
CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{directory}/bin"]
network_config_dir = "{directory}/conf"
default_network = "moorings"
[engine]
conmon_path = ["{tree}/usr/bin/conmon"]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
[engine.runtimes]
runc = ["{runc}"]
"""
STORAGE = """
[storage]
driver = "vfs"
runroot = "{run}"
graphroot = "{directory}/graph"
"""


class Host:
    """A network namespace that stands for a machine with podman and our CNI server."""

    def __init__(self, directory: Path) -> None:
        self.name, self.directory = f"mp{os.getpid()}x{next(counter)}", directory
        self.run_root = Path("/run") / self.name  # podman takes paths of 50 characters at most
        sh("ip", "netns", "add", self.name)
        sh("ip", "-n", self.name, "link", "set", "lo", "up")
        sh("ip", "-n", self.name, "address", "add", "192.0.2.1/32", "dev", "lo")
        for name in ("bin", "conf", "rootfs/bin", "rootfs/www"):
            (directory / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", directory / "rootfs/bin/busybox")
        (directory / "rootfs/www/index.html").write_text("here\n")
        runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
        (directory / "containers.conf").write_text(CONTAINERS.format(directory=directory, tree=TREE, runc=runc))
        (directory / "storage.conf").write_text(STORAGE.format(directory=directory, run=self.run_root))
        self.names: list[str] = []
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start `moorings cni serve` and wait until it serves."""
        conflist = self.directory / "conf/10-moorings.conflist"
        conflist.unlink(missing_ok=True)
        places = {"--bin-dir": "bin", "--conf-dir": "conf", "--root": "root", "--run": "run"}
        words = [word for option, name in places.items() for word in (option, str(self.directory / name))]
        command = [sys.executable, "-m", "moorings_core.cli", "cni", "serve", "--pod-cidr", "10.88.1.0/24", *words]
        self.server = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.name}", *command])
        until(lambda: conflist.exists() or self.server.poll() is not None, what="it serves")  # type: ignore[union-attr]

    def stop(self, number: int) -> None:
        """End the server."""
        assert self.server is not None
        self.server.send_signal(number)
        self.server.wait(20)

    def podman(self, *words: str, check: bool = True) -> str:
        """Run podman on the machine."""
        libraries = ":".join(str(TREE / part) for part in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
        files = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        environment = {**os.environ, "LD_LIBRARY_PATH": libraries} | {k: str(self.directory / v) for k, v in files.items()}
        where = ("--root", self.directory / "graph", "--runroot", self.run_root, "--tmpdir", self.run_root / "tmp")
        command = ["nsenter", f"--net=/run/netns/{self.name}", str(TREE / "usr/bin/podman"), *map(str, where), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def run(self, name: str, *words: str, options: tuple[str, ...] = ()) -> str:
        """Run a container of busybox's and return its address."""
        self.names.append(name)
        program = (str(self.directory / "rootfs"), "/bin/busybox", *words)
        self.podman("run", "-d", "--name", name, "--network", "moorings", *options, "--rootfs", *program)
        found = json.loads(self.podman("inspect", name))[0]["NetworkSettings"]["Networks"]["moorings"]
        return str(found["IPAddress"])

    def page(self, address: str, port: int = 80) -> str:
        """Return the page of an address, asked by the machine."""
        command = ["nsenter", f"--net=/run/netns/{self.name}", "timeout", "5", "busybox", "wget", "-qO-", f"http://{address}:{port}/"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()

    def close(self) -> None:
        """Remove everything."""
        for name in self.names:
            self.podman("rm", "-f", "-t", "0", name, check=False)
        if self.server is not None and self.server.poll() is None:
            self.stop(signal.SIGTERM)
        subprocess.run(["ip", "netns", "del", self.name], check=False)
        shutil.rmtree(self.run_root, ignore_errors=True)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if not (TREE / "usr/bin/podman").exists():
        pytest.fail(f"no {TREE}: labs/setup.sh tests brings it")
    made = Host(tmp_path)
    yield made
    made.close()


def test_podmans_containers_get_addresses_ports_and_each_other_and_outlive_the_server(host: Host) -> None:
    host.start()
    web = host.run("web", "httpd", "-f", "-p", "80", "-h", "/www", options=("-p", "8080:80"))
    assert web.startswith("10.88.1.")
    until(lambda: host.page(web) == "here", what="it answers at its address")
    assert host.page("192.0.2.1", 8080) == "here", "and at the machine's port"
    other = host.run("other", "sleep", "3600")
    assert other != web
    assert host.podman("exec", "other", "/bin/busybox", "wget", "-qO-", f"http://{web}/") == "here"
    host.stop(signal.SIGKILL)
    assert host.page(web) == "here", "nobody serves CNI, and pods stay wired"
    host.start()
    again = host.run("again", "sleep", "3600")
    assert again not in (web, other)
    for name in host.names:
        host.podman("rm", "-f", "-t", "0", name)
    until(lambda: "10.88.1." not in sh("ip", "-n", host.name, "route").replace("10.88.1.0/24", ""), what="no route to a pod is left")
