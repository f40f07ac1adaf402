"""A hundred claims with a pod each on ten lab nodes, from POST to all Running. Run: python -m tests.bench.bench_volumes"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import yaml

from moorings_labs.cluster import Cluster, run

from .report import figure

MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
PODS, NODES = 100, 10
CLUSTER = f"""
storage: [{{name: local, backend: image, default: true, parameters: {{fsType: ext4}}}}]
lab:
  profile: fast
  nodes: [{{name: server, roles: [server]}}, {{count: {NODES}}}]
"""


def main() -> None:
    """Measure and print."""
    name = f"bench{os.getpid()}"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "cluster.yaml"
        file.write_text(CLUSTER)
        try:
            run([*MOORINGS, "up", "-f", str(file), "--name", name], timeout=180)
            lab = Cluster(name)
            objects = yaml.safe_dump_all([each for number in range(PODS) for each in _pair(f"v{number}")])
            started = time.monotonic()
            lab.kubectl("create", "-f", "-", stdin=objects)
            lab.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod", "--all", "--timeout=170s", timeout=180)
            figure(f"{PODS} claims with a pod each on {NODES} nodes, POST to all Running", time.monotonic() - started, "s", "<= 15")
        finally:
            run([*MOORINGS, "down", name], timeout=120)


def _pair(name: str) -> list[object]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "32Mi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    mount = [{"name": "data", "mountPath": "/data"}]
    main = {"name": "main", "image": "moorings.dev/busybox:1", "command": ["sleep", "3600"], "volumeMounts": mount}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]
    pod = {"terminationGracePeriodSeconds": 0, "containers": [main], "volumes": volumes}
    return [claim, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}]


if __name__ == "__main__":
    main()
