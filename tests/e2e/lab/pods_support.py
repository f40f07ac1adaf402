"""Short words for pods in tests: builders of manifests, a namespace for a whole file, what a status says."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moorings_labs.cluster import Cluster

IMAGE = "moorings.dev/busybox:1"
Object = dict[str, Any]
counter = itertools.count()


def container(name: str = "main", script: str = "exec sleep 3600", **fields: Any) -> Object:
    """Return a container that runs a shell script."""
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], **fields}


def pod(name: str, *containers: Object, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """Return a pod that ends within a second."""
    metadata: Object = {"name": name} | ({"labels": labels} if labels else {})
    body = {"terminationGracePeriodSeconds": 1, "containers": list(containers) or [container()], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def config_map(name: str, **data: str) -> Object:
    """Return a ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **data: str) -> Object:
    """Return a Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


class Room:
    """A Kubernetes namespace of a lab."""

    def __init__(self, lab: Cluster, namespace: str) -> None:
        self.lab, self.namespace = lab, namespace

    def apply(self, *objects: Object) -> None:
        """Apply objects, all at once."""
        self.lab.apply("\n---\n".join(map(json.dumps, objects)), self.namespace)

    def get(self, name: str, kind: str = "pod") -> Object:
        """Return an object."""
        found: Object = self.lab.get(kind, name, "-n", self.namespace)
        return found

    def status(self, name: str, container: str = "main") -> Object:
        """Return the status of a container, {} where there is none yet."""
        status = self.get(name).get("status", {})
        lists = (status.get(f"{kind}Statuses", ()) for kind in ("container", "initContainer", "ephemeralContainer"))
        return next((s for found in lists for s in found if s["name"] == container), {})

    def events(self, name: str, reason: str) -> list[str]:
        """Return the messages of a pod's events with a reason."""
        selector = f"involvedObject.name={name},reason={reason}"
        items = self.lab.get("events", "-n", self.namespace, "--field-selector", selector)["items"]
        return [item["message"] for item in items]

    def sh(self, name: str, script: str, container: str = "main", check: bool = True) -> str:
        """Run a script in a container and return what it printed, both streams, without the last newline."""
        done = self.lab.exec(name, "sh", "-c", script, namespace=self.namespace, container=container, check=check)
        return (done.stdout + done.stderr).rstrip("\n")

    def kubectl(self, *words: str, **options: Any) -> str:
        """Run kubectl in the namespace and return what it printed."""
        return self.lab.kubectl("-n", self.namespace, *words, **options).stdout

    def logs(self, name: str, *words: str) -> str:
        """Return a log."""
        return self.kubectl("logs", name, *words)

    def ready(self, *names: str) -> None:
        """Wait until pods are Ready."""
        self.lab.wait_ready(*names, namespace=self.namespace, timeout=30)

    def phase(self, name: str, phase: str, timeout: float = 30) -> Object:
        """Wait until a pod is in a phase and return it."""

        def look() -> Object | None:
            found = self.get(name)
            return found if found["status"].get("phase") == phase else None

        found: Object = self.lab.wait_for(f"pod {name} {phase}", look, timeout)
        return found

    def waiting(self, name: str, reason: str, container: str = "main", timeout: float = 30) -> Object:
        """Wait until a container waits for a reason and return its status."""

        def look() -> Object | None:
            found = self.status(name, container)
            return found if found.get("state", {}).get("waiting", {}).get("reason") == reason else None

        found: Object = self.lab.wait_for(f"container {container} of {name} waits: {reason}", look, timeout)
        return found


@contextmanager
def room(lab: Cluster) -> Iterator[Room]:
    """Make a namespace for all tests of a file and delete it afterwards."""
    name = f"p{os.getpid()}-{next(counter)}"
    lab.kubectl("create", "namespace", name)
    lab.wait_for("default service account", lambda: lab.get("serviceaccount", "default", "-n", name))
    yield Room(lab, name)
    lab.kubectl("delete", "namespace", name, "--wait=true", "--timeout=60s")
