"""Upstream's kube-controller-manager and kube-scheduler against any API server, and the kinds of error that they log."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

UPSTREAM = Path(__file__).parents[3] / "build" / "upstream"
PROGRAMS = ("kube-controller-manager", "kube-scheduler")
ERROR = re.compile(r"^[EF]\d{4} \S+ +\d+ (\S+?):\d+\] (.*)$")
MASKS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"https?://[^\s\"/]+"), "URL"),
    (re.compile(r'\\"[^"\\]*\\"|key="[^"]*"'), "NAME"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r"\b[a-z]N-N[-/\w.]*"), "NAME"),
    (re.compile(r"&v1\.\w+\{.*"), "OBJECT"),
)
"""What differs between two runs of the same program"""


@dataclass(frozen=True, slots=True)
class Keys:
    """What upstream's parts need beside an API server: a kubeconfig for each, by its program, and the cluster's keys."""

    kubeconfigs: dict[str, Path]
    accounts: Path
    authority: Path
    authority_key: Path | None = None


class ControlPlane:
    """Both programs; their logs are in a directory."""

    def __init__(self, directory: Path, keys: Keys, pods: str) -> None:
        self.directory = directory
        self._keys, self._pods = keys, pods
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both; they find the API server when it is there."""
        keys = self._keys
        manager = [
            "--controllers=*,bootstrap-signer-controller,token-cleaner-controller", "--use-service-account-credentials=true",
            f"--service-account-private-key-file={keys.accounts}", f"--root-ca-file={keys.authority}", "--allocate-node-cidrs=true",
            f"--cluster-cidr={self._pods}",
        ]  # fmt: skip
        if keys.authority_key is not None:
            manager += [f"--cluster-signing-cert-file={keys.authority}", f"--cluster-signing-key-file={keys.authority_key}"]
        self._run("kube-controller-manager", *manager)
        self._run("kube-scheduler")

    def close(self) -> None:
        """End both."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=30)

    def dead(self) -> list[str]:
        """Return the words with which a program that should run has ended."""
        return [f"{p.args[0]}: exit code {p.returncode}" for p in self._processes if p.poll() is not None]  # type: ignore[index]

    def errors(self) -> set[str]:
        """Return the kinds of error that both have logged: program, source file, and the message without what differs between runs."""
        return {kind for program in PROGRAMS for kind in self._kinds(program)}

    def _kinds(self, program: str) -> Iterator[str]:
        for line in (self.directory / f"{program}.log").read_text(errors="replace").splitlines():
            if found := ERROR.match(line):
                text = found[2]
                for pattern, word in MASKS:
                    text = pattern.sub(word, text)
                yield f"{program} {found[1]}: {text}"

    def _run(self, program: str, *flags: str) -> None:
        command = [str(UPSTREAM / program), f"--kubeconfig={self._keys.kubeconfigs[program]}", "--secure-port=0", "--v=2", *flags]
        with (self.directory / f"{program}.log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))


def token_kubeconfig(path: Path, url: str, token: str) -> Path:
    """Write a kubeconfig for a server on loopback whose certificate nobody checks."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(document))
    return path
