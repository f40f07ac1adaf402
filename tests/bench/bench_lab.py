"""A whole lab: from nothing to pods that answer each other across nodes, its memory when idle, and its end.

`python -m tests.bench.bench_lab` makes three labs one after another and prints medians.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from statistics import median

from moorings_labs import audit, layout
from moorings_labs.cluster import Cluster, run

from .report import figure

MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
FILE = Path(__file__).parents[2] / "labs" / "topologies" / "demo.yaml"
ROUNDS, QUIET_SECONDS = 3, 5.0
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  containers: [{{name: main, image: "moorings.dev/busybox:1", command: [sh, -c, "echo here > /index.html; exec httpd -f -p 80 -h /"]}}]
---
"""
PODS = POD.format(name="west", node="node-1") + POD.format(name="east", node="node-3")


def main() -> None:
    """Measure and print."""
    ups, answers, downs, servers, agents, containerds = [], [], [], [], [], []
    for number in range(ROUNDS):
        name = f"bench{os.getpid()}-{number}"
        try:
            up, answer = _from_nothing(name)
            time.sleep(QUIET_SECONDS)  # what is measured next is a lab that nobody uses
            server, agent, containerd = _memory(name)
        finally:
            started = time.monotonic()
            run([*MOORINGS, "down", name])
            downs.append(time.monotonic() - started)
        for values, value in ((ups, up), (answers, answer), (servers, server), (agents, agent), (containerds, containerd)):
            values.append(value)
    figure("three nodes Ready", median(ups), "s", "")
    figure("from nothing to a pod answering across nodes", median(answers), "s", "<= 5")
    figure("moorings down", median(downs), "s", "<= 2")
    figure("server, idle, three nodes, RSS", median(servers), "MB", "<= 150")
    figure("agent, with one pod, PSS", median(agents), "MB", "<= 45")
    figure("containerd beside it, PSS", median(containerds), "MB", "")


def _from_nothing(name: str) -> tuple[float, float]:
    """Return the seconds to Ready nodes, and to an answer of a pod on another node."""
    started = time.monotonic()
    run([*MOORINGS, "up", "-f", str(FILE), "--name", name])
    up, lab = time.monotonic() - started, Cluster(name)
    lab.apply(PODS)
    lab.wait_ready("west", "east")
    answer = lab.exec("east", "wget", "-qO-", f"http://{lab.pod_ip('west')}/").stdout
    if answer != "here\n":
        raise SystemExit(f"the pod answers {answer!r}")
    return up, time.monotonic() - started


def _memory(name: str) -> tuple[float, float, float]:
    """Return the server's RSS, and the largest PSS of an agent and of a containerd, in MB."""
    lab = layout.find(name).id
    agents = [_kilobytes(p, "smaps_rollup", "Pss") for p in audit.processes_of(lab, "moorings_core.cli agent")]
    containerds = [_kilobytes(p, "smaps_rollup", "Pss") for p in audit.processes_of(lab, "containerd --config")]
    (server,) = audit.processes_of(lab, "moorings_core.cli server")
    return _kilobytes(server, "status", "VmRSS") / 1000, max(agents) / 1000, max(containerds) / 1000


def _kilobytes(process: int, file: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path(f"/proc/{process}/{file}").read_text(), re.MULTILINE)
    assert found is not None, f"/proc/{process}/{file} has no {field}"
    return int(found[1])


if __name__ == "__main__":
    main()
