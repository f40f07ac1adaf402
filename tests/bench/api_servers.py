"""Whole control planes to measure: ours, and upstream's four programs, on loopback with the same keys, users and settings."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from moorings_core.pki.authority import Authority
from moorings_core.pki.kubeconfig import kubeconfig
from tests.differential.peers import TOKENS, free_port

UPSTREAM = Path(__file__).parents[2] / "build" / "upstream"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
START_SECONDS = 60.0


@dataclass(slots=True)
class Server:
    """A control plane on loopback. peer: "" for ours, else what upstream's figures are marked with. ready: seconds from start to ready."""

    peer: str
    folder: Path
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ready: float = 0.0

    def start(self, *command: str | Path) -> None:
        """Start one of its programs."""
        with (self.folder / "log").open("ab") as log:
            self.processes.append(subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def wait_ready(self) -> None:
        """Wait until the API says that it is ready, and note how long that took."""
        begun = time.perf_counter()
        while not self._is_ready():
            if time.perf_counter() - begun > START_SECONDS or any(p.poll() is not None for p in self.processes):
                raise SystemExit((self.folder / "log").read_text()[-3000:])
            time.sleep(0.01)
        self.ready = time.perf_counter() - begun

    def resident(self) -> float:
        """Return the resident memory of all its processes in MB."""
        return sum(int(Path(f"/proc/{p.pid}/statm").read_text().split()[1]) for p in self.processes) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """Return the CPU time that its processes have used."""
        fields = [Path(f"/proc/{p.pid}/stat").read_text().rpartition(")")[2].split() for p in self.processes]
        return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)

    def _is_ready(self) -> bool:
        import ssl

        tls = ssl.create_default_context(cafile=str(self.folder / "pki/ca.crt"))
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{self.port}/readyz", context=tls, timeout=5) as answer:
                return bool(answer.read() == b"ok")
        except (OSError, urllib.error.URLError):
            return False


def built() -> bool:
    """Whether upstream's programs are there."""
    return all((UPSTREAM / name).exists() for name in PROGRAMS)


@contextmanager
def moorings(folder: Path) -> Iterator[Server]:
    """Run ours: one process with API, controllers and scheduler, on SQLite."""
    server = _prepared("", folder)
    (folder / "cluster.yaml").write_text(f"server: {{port: {server.port}}}\nlab: {{profile: fast}}\n")
    command = ["server", "--config", str(folder / "cluster.yaml"), "--data", str(folder), "--advertise", "127.0.0.1", "--bind", "127.0.0.1"]
    try:
        server.start(sys.executable, "-m", "moorings_core.cli", *command)
        server.wait_ready()
        yield server
    finally:
        server.close()


@contextmanager
def upstream(folder: Path) -> Iterator[Server]:
    """Run upstream's: etcd, kube-apiserver, kube-controller-manager, kube-scheduler. Ready is counted from the start of the API server."""
    server = _prepared("upstream 1.37.2", folder)
    pki, client, member = folder / "pki", free_port(), free_port()
    to_client, to_member = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{member}"
    subprocess.run(["openssl", "genrsa", "-out", str(pki / "sa.key"), "2048"], check=True, capture_output=True)
    try:
        server.start(
            UPSTREAM / "etcd", "--data-dir", folder / "etcd", "--listen-client-urls", to_client, "--advertise-client-urls", to_client,
            "--listen-peer-urls", to_member, "--initial-advertise-peer-urls", to_member, "--initial-cluster", f"default={to_member}",
            "--log-level", "error",
        )  # fmt: skip
        _wait_etcd(to_client)
        server.start(
            UPSTREAM / "kube-apiserver", f"--etcd-servers={to_client}", f"--secure-port={server.port}", "--bind-address=127.0.0.1",
            f"--tls-cert-file={pki}/server.crt", f"--tls-private-key-file={pki}/server.key", f"--client-ca-file={pki}/ca.crt",
            f"--token-auth-file={pki}/tokens.csv", "--authorization-mode=Node,RBAC", f"--service-account-key-file={pki}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local", f"--service-account-signing-key-file={pki}/sa.key",
            "--service-cluster-ip-range=10.96.0.0/16", "--advertise-address=192.0.2.1", "--allow-privileged=true",
            "--anonymous-auth=true",
        )  # fmt: skip
        server.wait_ready()
        server.start(
            UPSTREAM / "kube-controller-manager", f"--kubeconfig={folder}/kubeconfig", "--secure-port=0", f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/sa.key", "--use-service-account-credentials=true",
        )  # fmt: skip
        server.start(UPSTREAM / "kube-scheduler", f"--kubeconfig={folder}/kubeconfig", "--secure-port=0")
        yield server
    finally:
        server.close()


def _prepared(peer: str, folder: Path) -> Server:
    """Make authority, certificates and users, which are the same for both."""
    server, pki = Server(peer, folder, free_port()), folder / "pki"
    pki.mkdir(parents=True)
    authority = Authority.load_or_create(pki, "bench")
    authority.issue("server", hosts=["127.0.0.1", "localhost"]).write(pki, "server")
    admin = authority.issue("admin", organizations=["system:masters"])
    admin.write(folder, "admin")
    (folder / "kubeconfig").write_bytes(kubeconfig("bench", f"https://127.0.0.1:{server.port}", authority.cert_pem, "admin", admin))
    (pki / "tokens.csv").write_text(TOKENS)
    return server


def _wait_etcd(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("etcd does not answer")
