"""Two API servers on loopback: upstream's kube-apiserver on etcd, and ours; the same request goes to both."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field, replace
from email.message import Message
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UPSTREAM = ROOT / "build" / "upstream"
TOKEN = "administrator"
TOKENS = f"{TOKEN},admin,1,system:masters\ndora,dora,2\n"
READY_SECONDS = 90.0
SETTLE_SECONDS = 5.0
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RANGE = "10.96.0.0/16"
OPEN = "{enforce: privileged, audit: privileged, warn: privileged, exemptNamespaces: []}"
"""What upstream's server does without a configuration"""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. body: bytes as they are, anything else as JSON.

    {continue} and {resourceVersion} in the path, and that version in the body's metadata, are those of the answer before. stream: the
    answer is a line an event. pick: compare only the keys of this part of the answer. until: ask again until the answer holds this text.
    sparse: what is null is as good as not there.
    """

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    stream: bool = False
    pick: str = ""
    until: str = ""
    warned: bool = False
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; body is parsed where it is JSON."""

    code: int
    body: Any
    headers: dict[str, str]
    warnings: tuple[str, ...] = ()


class Peer:
    """A running API server."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.directory, self.port = name, directory, free_port()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._tls = ssl.create_default_context()
        self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE  # both servers are ours, on loopback
        directory.mkdir(parents=True)

    def ask_all(self, requests: list[Request]) -> list[Answer]:
        """Send requests in order; later ones may name parts of the answer before."""
        answers: list[Answer] = []
        for request in requests:
            body = answers[-1].body if answers else {}
            metadata = body.get("metadata", {}) if isinstance(body, dict) else {}
            where = request.path
            for name in ("continue", "resourceVersion"):
                where = where.replace(f"{{{name}}}", urllib.parse.quote(str(metadata.get(name, ""))))
            answers.append(self._ask_until(replace(request, path=where, body=_of_version(request.body, metadata))))
        return answers

    def _ask_until(self, request: Request) -> Answer:
        end = time.monotonic() + SETTLE_SECONDS
        while True:
            answer = self.ask(request)
            if not request.until or request.until in json.dumps(answer.body) or time.monotonic() > end:
                return answer
            time.sleep(0.05)

    def ask(self, request: Request) -> Answer:
        """Send a request as administrator."""
        raw = isinstance(request.body, bytes) or request.body is None
        data = request.body if raw else json.dumps(request.body, separators=(",", ":")).encode()  # as upstream keeps what has no schema
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", "Accept": "application/json", **request.headers}
        url = f"https://127.0.0.1:{self.port}{request.path}"
        asked = urllib.request.Request(url, data=data, method=request.method, headers=headers)
        try:
            with urllib.request.urlopen(asked, context=self._tls, timeout=30) as answer:
                return _answer(answer.status, answer.read(), answer.headers, stream=request.stream)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.read(), error.headers)

    def start(self, *command: str | Path, **environment: str) -> None:
        """Start one of the server's programs."""
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(c) for c in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
            )
        self._processes.append(process)

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        end, seen = time.monotonic() + READY_SECONDS, ""
        while seen != "ok":
            dead = [p.args for p in self._processes if p.poll() is not None]
            log = (self.directory / "log").read_text(errors="replace")[-3000:]
            assert not dead and time.monotonic() < end, f"{self.name} is not ready ({seen!r}); its log ends:\n{log}"
            try:
                seen = str(self.ask(Request("GET", "/readyz")).body)
            except OSError as error:
                seen = str(error)
            time.sleep(0.1)

    def close(self) -> None:
        """End it."""
        for process in reversed(self._processes):
            process.kill()
            process.wait(timeout=30)


def upstream(directory: Path, services: str = RANGE) -> Peer:
    """Start etcd and kube-apiserver."""
    peer = Peer("upstream", directory)
    client, member = free_port(), free_port()
    to_client, to_member = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{member}"
    flags = ["--listen-client-urls", to_client, "--advertise-client-urls", to_client, "--listen-peer-urls", to_member]
    flags += ["--initial-advertise-peer-urls", to_member, "--initial-cluster", f"default={to_member}", "--log-level", "error"]
    peer.start(UPSTREAM / "etcd", "--data-dir", directory / "etcd", *flags)
    key = directory / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (directory / "tokens.csv").write_text(TOKENS)
    peer.start(
        UPSTREAM / "kube-apiserver", f"--etcd-servers={to_client}", f"--secure-port={peer.port}", "--bind-address=127.0.0.1",
        f"--cert-dir={directory}/certs", f"--token-auth-file={directory}/tokens.csv", "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}", f"--service-cluster-ip-range={services}", "--advertise-address=192.0.2.1",
        "--allow-privileged=true",
    )  # fmt: skip
    peer.wait_ready()
    return peer


def moorings(directory: Path, services: str = RANGE) -> Peer:
    """Start `moorings server` with its API alone, and without the kinds that upstream's server does not bring along."""
    peer = Peer("moorings", directory)
    config = directory / "cluster.yaml"
    config.write_text(
        f"server: {{run: [api], port: {peer.port}, podSecurity: {OPEN}}}\nstorage: []\nservices: {{CIDRs: [{services}]}}\n"
    )  # no default class, as upstream without an installer
    pki = directory / "data" / "pki"
    pki.mkdir(parents=True)
    (pki / "tokens.csv").write_text(TOKENS)
    command = (sys.executable, "-m", "moorings_core.cli", "server", "--config", config, "--data", directory / "data")
    peer.start(*command, "--advertise", "192.0.2.1", "--bind", "127.0.0.1")
    peer.wait_ready()
    peer.ask_all([Request("DELETE", DEFINITIONS), Request("GET", DEFINITIONS, until='"items": []')])
    return peer


def free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _of_version(body: Any, metadata: dict[str, Any]) -> Any:
    if not isinstance(body, dict) or (body.get("metadata") or {}).get("resourceVersion") != "{resourceVersion}":
        return body
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(metadata.get("resourceVersion", ""))}}


def _answer(code: int, body: bytes, headers: Message, *, stream: bool = False) -> Answer:
    rest = (dict(headers), tuple(headers.get_all("Warning") or ()))
    try:
        if stream:
            return Answer(code, [json.loads(line) for line in body.splitlines()], *rest)
        return Answer(code, json.loads(body), *rest)
    except ValueError:
        return Answer(code, body.decode(errors="replace"), *rest)
