"""`moorings server` itself on loopback, as an operator starts it, with the unmodified kubectl as whoever is asked for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from moorings_core.pki.authority import Authority
from moorings_core.pki.kubeconfig import kubeconfig

WAIT_SECONDS = 30.0
KUBECTL = str(Path(sys.executable).with_name("kubectl"))


class Server:
    """A server that can be ended and started again on the same data and port."""

    def __init__(self, root: Path, more: dict[str, Any] | None = None, address: str = "127.0.0.1") -> None:
        self.address = address
        self.more = more or {}
        """Other sections of the cluster file"""
        self.root, self.data, self.port = root, root / "data", _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    def start(self, **server: Any) -> None:
        """Start it with fields of the cluster file's section server, and wait until it is ready."""
        self.launch(**server)
        self.wait_for("the server is ready", lambda: self.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok")

    def launch(self, **server: Any) -> None:
        """Start it and wait for nothing."""
        config = {"server": {"port": self.port, "run": ["api"], **server}, **self.more}
        (self.root / "cluster.yaml").write_text(yaml.safe_dump(config))
        self.launch_again()

    def launch_again(self) -> None:
        """Start it with the cluster file that it had, and wait for nothing."""
        command = [sys.executable, "-m", "moorings_core.cli", "server", "--config", self.root / "cluster.yaml", "--data", self.data]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(c) for c in (*command, "--advertise", self.address, "--bind", self.address)], stdout=log, stderr=log
            )

    def ended(self) -> int:
        """Wait until it ends by itself and return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout=WAIT_SECONDS)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=WAIT_SECONDS)

    def rekey(self) -> str:
        """Give it a new key by `moorings rekey` and return its id."""
        command = [sys.executable, "-m", "moorings_core.cli", "rekey", "--data", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    def kubectl(self, *words: str, stdin: str = "", check: bool = True, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl as administrator, or as whom a kubeconfig says."""
        command = [KUBECTL, "--kubeconfig", str(config or self.data / "pki/admin.kubeconfig"), *words]
        environment = {**os.environ, "HOME": str(self.root)}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr}\n{self.log[-3000:]}"
        return done

    def get(self, *words: str) -> Any:
        """Return what `kubectl get ... -o json` prints."""
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create objects."""
        self.kubectl("create", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def with_token(self, token: str, name: str = "token") -> Path:
        """Return a kubeconfig of somebody who has nothing but a token."""
        admin = yaml.safe_load((self.data / "pki/admin.kubeconfig").read_text())
        path = self.root / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump({**admin, "users": [{"name": "admin", "user": {"token": token}}]}))
        return path

    def with_certificate(self, user: str, *groups: str) -> Path:
        """Return a kubeconfig of somebody with a certificate of the cluster's authority."""
        authority = Authority.load_or_create(self.data / "pki", "moorings")
        issued = authority.issue(user, organizations=groups)
        path = self.root / f"{user.replace(':', '-')}.kubeconfig"
        path.write_bytes(kubeconfig("moorings", self.url, authority.cert_pem, user, issued))
        return path

    def wait_for(self, what: str, condition: Any) -> Any:
        """Wait until a condition holds and return what it gave."""
        end = time.monotonic() + WAIT_SECONDS
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {WAIT_SECONDS:g} s: {what}\n{self.log[-3000:]}"
            time.sleep(0.05)
        return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
