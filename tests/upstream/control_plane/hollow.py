"""Nodes without a machine for an API server that has none: each bound pod gets the status that its node's agent would report.

Only for upstream's own API server, which is here the oracle for what its own controllers log; under moorings the nodes are real.
"""

from __future__ import annotations

import copy
import threading
from datetime import UTC, datetime
from typing import Any

from tests.differential.cases import MERGE
from tests.differential.peers import Peer, Request

NODES = ("node-1", "node-2", "node-3")
READY = [
    {"type": kind, "status": status, "reason": "Hollow", "message": "hollow"}
    for kind, status in (("Ready", "True"), ("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False"))
]
ROOM = {"cpu": "8", "memory": "16Gi", "pods": "110"}
POLL_SECONDS = 0.1


class HollowNodes:
    """A thread that plays the nodes' agents."""

    def __init__(self, peer: Peer) -> None:
        self._peer, self._stop = peer, threading.Event()
        self._thread = threading.Thread(target=self._run, name="hollow nodes")
        self._seen: dict[str, int] = {}

    def start(self) -> None:
        """Register the nodes and begin."""
        for name in NODES:
            self._ask("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})
        self._beat()
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(30)

    def _run(self) -> None:
        rounds = 0
        while not self._stop.wait(POLL_SECONDS):
            rounds += 1
            if rounds % 50 == 0:
                self._beat()
            for pod in self._ask("GET", "/api/v1/pods")["items"]:
                self._step(pod)

    def _beat(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        conditions = [{**c, "lastHeartbeatTime": now} for c in copy.deepcopy(READY)]
        for name in NODES:
            self._patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": conditions, "capacity": ROOM, "allocatable": ROOM}})

    def _step(self, pod: dict[str, Any]) -> None:
        meta, status = pod["metadata"], pod["status"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if "nodeName" not in pod["spec"]:
            return
        if "deletionTimestamp" in meta:
            self._ask("DELETE", f"{path}?gracePeriodSeconds=0", {"preconditions": {"uid": meta["uid"]}})
        elif status.get("phase") == "Pending":
            self._patch(f"{path}/status", {"status": self._running(pod)})
        elif status.get("phase") == "Running" and pod["spec"]["containers"][0]["command"] == ["true"]:
            self._patch(f"{path}/status", {"status": {"phase": "Succeeded"}})

    def _running(self, pod: dict[str, Any]) -> dict[str, Any]:
        number = self._seen.setdefault(pod["metadata"]["uid"], len(self._seen) + 2)
        address = f"10.64.{number // 250}.{number % 250 + 1}"
        conditions = [{"type": t, "status": "True"} for t in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
        return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}

    def _patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("PATCH", path, body, MERGE)

    def _ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        return self._peer.ask(Request(method, path, body, headers or {})).body
