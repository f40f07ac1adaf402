"""A running lab as tests and demos use it: kubectl, commands inside nodes, waits that say what was seen last.

Synchronous on purpose: whoever drives a lab from outside waits for one thing at a time. Every wait has a bound.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorings_core.ports.errors import MooringsError

from . import layout as layouts

POLL_SECONDS = 0.1
Done = subprocess.CompletedProcess[str]


class CommandFailed(MooringsError):
    """A command ended with another exit code than 0; the text holds the command and its words."""

    def __init__(self, done: Done) -> None:
        super().__init__(f"{' '.join(map(str, done.args))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        self.done = done


class WaitTimeout(MooringsError):
    """A condition did not hold in time; the text says what was seen last, and the cluster's last events."""


def run(command: list[str], *, stdin: str = "", check: bool = True, timeout: float = 60, env: dict[str, str] | None = None) -> Done:
    """Run a command and return it with its output. Raises CommandFailed with check."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout, env=environment)
    if check and done.returncode != 0:
        raise CommandFailed(done)
    return done


@dataclass(frozen=True, slots=True)
class Cluster:
    """A lab by its name."""

    name: str

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return layouts.root() / self.name / "kubeconfig"

    def moorings(self, *words: str, check: bool = True, timeout: float = 120) -> Done:
        """Run `moorings WORDS --name NAME`; words after "--" stay last."""
        position = words.index("--") if "--" in words else len(words)
        command = [sys.executable, "-m", "moorings_core.cli", *words[:position], "--name", self.name, *words[position:]]
        return run(command, check=check, timeout=timeout)

    def kubectl(self, *words: str, stdin: str = "", check: bool = True, timeout: float = 90) -> Done:
        """Run the unmodified kubectl."""
        return run([*self.kubectl_command(), *words], stdin=stdin, check=check, timeout=timeout)

    def kubectl_command(self) -> list[str]:
        """Return the words that start kubectl for this cluster."""
        beside = Path(sys.executable).with_name("kubectl")
        return [str(beside) if beside.exists() else "kubectl", "--kubeconfig", str(self.kubeconfig)]

    def apply(self, text: str, namespace: str = "default") -> None:
        """Apply manifests."""
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)

    def get(self, *words: str) -> Any:
        """Return what `kubectl get WORDS -o json` prints."""
        return json.loads(self.kubectl("get", *words, "-o", "json").stdout)

    def exec(self, pod: str, *command: str, namespace: str = "default", container: str = "", check: bool = True, stdin: str = "") -> Done:
        """Run a command in a pod's container."""
        flags = [*(["-c", container] if container else []), *(["-i"] if stdin else [])]
        return self.kubectl("exec", "-n", namespace, pod, *flags, "--", *command, check=check, stdin=stdin)

    def node(self, node: str, *command: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command inside a node and return its output."""
        return self.moorings("exec", node, "--", *command, check=check, timeout=timeout).stdout

    def wait_for(self, what: str, look: Callable[[], Any], timeout: float = 30) -> Any:
        """Call look until it returns something true; return that. Raises WaitTimeout."""
        end, seen = time.monotonic() + timeout, None
        while time.monotonic() < end:
            try:
                if found := look():
                    return found
                seen = found
            except (CommandFailed, LookupError) as error:
                seen = error
            time.sleep(POLL_SECONDS)
        events = self.kubectl("get", "events", "-A", "--sort-by=.metadata.creationTimestamp", check=False).stdout
        raise WaitTimeout(f"{what}: not after {timeout:g}s; last: {seen!r}\n" + "\n".join(events.splitlines()[-15:]))

    def wait_ready(self, *pods: str, namespace: str = "default", timeout: float = 60) -> None:
        """Wait until pods are Ready, as kubectl sees it. Raises CommandFailed."""
        names = [f"pod/{p}" for p in pods]
        self.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"--timeout={timeout:g}s", *names, timeout=timeout + 10)

    def pod_ip(self, pod: str, namespace: str = "default") -> str:
        """Return a pod's address."""
        return str(self.get("pod", pod, "-n", namespace)["status"]["podIP"])
