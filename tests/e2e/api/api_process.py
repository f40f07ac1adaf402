"""An API server in a process of its own on loopback, with a kubeconfig for the unmodified kubectl."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from moorings_core.pki.authority import Authority
from moorings_core.pki.kubeconfig import kubeconfig

PROGRAM = """
import asyncio, pathlib, ssl, sys
from moorings_core.api.server import ApiServer, ServerOptions
from moorings_core.config import load_text
from moorings_core.log import setup_logging
from moorings_core.pki.tokens import TokenSigner
from moorings_core.store.sqlite import SqliteStore

async def main(root):
    setup_logging()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(root / "server.crt", root / "server.key")
    tls.load_verify_locations(root / "ca.crt")
    tls.verify_mode = ssl.CERT_OPTIONAL
    signer = TokenSigner.load_or_create(root / "sa.key", "https://kubernetes.default.svc")
    store = await SqliteStore.open(root / "store", {})
    text = "lab: {profile: fast}"
    server = ApiServer(ServerOptions(load_text(text), text, signer, "127.0.0.1", tls), store)
    port = await server.start("127.0.0.1", int(sys.argv[2]))
    print(port, flush=True)
    await asyncio.Event().wait()

import uvloop
uvloop.run(main(pathlib.Path(sys.argv[1])))
"""


class ApiProcess:
    """A server that can be killed and started again on the same data and port."""

    def __init__(self, root: Path) -> None:
        self.root, self.port = root, 0
        self._process: asyncio.subprocess.Process | None = None
        authority = Authority.create("test")
        authority.issue("server", hosts=["127.0.0.1"]).write(root, "server")
        (root / "ca.crt").write_bytes(authority.cert_pem)
        self._admin = authority.issue("admin", organizations=["system:masters"])
        self._admin.write(root, "admin")
        self._authority = authority

    async def start(self) -> None:
        """Start and wait until it listens."""
        arguments = (sys.executable, "-c", PROGRAM, str(self.root), str(self.port))
        log = (self.root / "server.log").open("ab")
        self._process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, stderr=log)
        log.close()
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        assert line, (self.root / "server.log").read_text()
        self.port = int(line)
        config = kubeconfig("test", f"https://127.0.0.1:{self.port}", self._authority.cert_pem, "admin", self._admin)
        (self.root / "kubeconfig").write_bytes(config)

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.communicate()

    async def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl; with check a failure fails the test with kubectl's words."""
        command = [kubectl_path(), "--kubeconfig", str(self.root / "kubeconfig"), *arguments]
        environment = {**os.environ, "HOME": str(self.root)}
        done = await asyncio.to_thread(
            subprocess.run, command, input=stdin, capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        assert done.returncode == 0 or not check, f"{' '.join(arguments)}: {done.stderr}\n{(self.root / 'server.log').read_text()}"
        return done

    async def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ... -o json` prints."""
        return json.loads((await self.kubectl("get", *arguments, "-o", "json")).stdout)


def kubectl_path() -> str:
    """Return the kubectl of the development environment, or the machine's."""
    beside = Path(sys.executable).parent / "kubectl"
    return str(beside) if beside.exists() else "kubectl"
