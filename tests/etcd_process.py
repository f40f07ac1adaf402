"""A real etcd for tests: Debian's, on loopback ports of its own, with a data directory that goes away with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent.parent
STARTS_WITHIN = 30.0


def program() -> str:
    """Return etcd's path: set-up unpacks Debian's package into build/bin."""
    found = shutil.which("etcd", path=f"{HERE}/build/bin:{os.environ['PATH']}")
    assert found, "etcd is missing: run labs/setup.sh tests"
    return found


class Etcd:
    """One member; it can be stopped and started again on the same data and port."""

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory, self.flags = directory, flags
        self.port, self._peer_port = _free_port(), _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it serves."""
        peer = f"http://127.0.0.1:{self._peer_port}"
        command = [
            program(), "--data-dir", str(self.directory / "data"), "--listen-client-urls", self.endpoint,
            "--advertise-client-urls", self.endpoint, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}", "--log-level", "error", *self.flags,
        ]  # fmt: skip
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "ETCD_UNSUPPORTED_ARCH": ""})
        end = time.monotonic() + STARTS_WITHIN
        while not self._healthy():
            assert self.process.poll() is None and time.monotonic() < end, (self.directory / "log").read_text()
            time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        """End it: politely, or at once."""
        assert self.process is not None
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait(20)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except OSError:
            return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
