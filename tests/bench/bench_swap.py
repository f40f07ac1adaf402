"""What a client loses while parts of a running cluster are exchanged, or started again: a lab of three nodes under load.

For every ordered pair of network modes, for both orders of the proxies (where the kernel has ip_vs: `make test-vm` makes that exchange
elsewhere), for a kill -9 of a node's agent and of the server: 1,000 requests a second, half over new connections and half over
kept ones, by pods' addresses and by a Service; a long transfer whose checksum is compared; datagrams and DNS questions that are sent
once. Printed: requests that failed, connections that broke, datagrams without an answer, pods whose address changed. The budget is 0.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from moorings_labs import audit, layout
from moorings_labs.cluster import Cluster, run
from moorings_proxy.ebpf.source import missing
from tests.e2e.lab import places
from tests.e2e.lab.loads import load

from .report import figure

MOORINGS = [sys.executable, "-m", "moorings_core.cli"]
FILE = Path(__file__).parents[2] / "labs" / "topologies" / "demo.yaml"
RATE, PORT, LEAST_SECONDS = 1000, 7777, 3.0
MODES = ("vxlan", "routed", "underlay")
PODS = {"one": "node-1", "two": "node-2", "three": "node-3"}
DNS, NAME = "10.96.0.10", "kubernetes.default.svc.cluster.local"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: swap}
  ports: [{name: tcp, port: 80, targetPort: 7777}]
"""
LOST = ("failed requests", "broken connections", "datagrams without answer", "DNS questions without answer", "changed pod addresses")


def pairs() -> list[str]:
    """Return modes in an order in which every ordered pair comes once, beginning and ending with the first."""
    order = [MODES[0]]
    left = set(itertools.permutations(MODES, 2))
    while left:
        step = max((p for p in left if p[0] == order[-1]), key=lambda p: (sum(q[0] == p[1] for q in left), p[1] != MODES[0]))
        left.remove(step)
        order.append(step[1])
    return order


class Bench:
    """A lab with an echo server on each node, and what has been lost so far."""

    def __init__(self, name: str) -> None:
        self.lab = Cluster(name)
        self.total: Counter[str] = Counter()
        self.lab.apply(places.web("swap", **PODS) + SERVICE)
        self.pods = places.pods(self.lab, "default", *PODS)
        self.virtual = self.lab.get("service", "echo")["spec"]["clusterIP"]

    @contextmanager
    def clients(self) -> Iterator[list[dict[str, Any]]]:
        """Load every node from the next one's pod while the block runs; the reports are there afterwards."""
        with ExitStack() as stack:
            reports = []
            for here, there in zip(self.pods, self.pods[1:] + self.pods[:1], strict=True):
                where = f"{there.address}:{PORT}"
                ways = (f"new://{where}", f"keep://{where}", f"new://{self.virtual}:80", f"keep://{self.virtual}:80")
                more = (f"bulk://{where}", f"echo://{self.virtual}:80", f"udp://{where}", f"dns://{DNS}/{NAME}")
                reports.append(stack.enter_context(load(here, RATE / len(self.pods), *ways, *more)))
            yield reports

    def addresses(self) -> dict[str, str]:
        """Return each pod's address."""
        return {p["metadata"]["name"]: p["status"]["podIP"] for p in self.lab.get("pods")["items"]}

    def during(self, name: str, event: Callable[[], object]) -> None:
        """Do something under load, and print what was lost."""
        before = self.addresses()
        with places.echoing(self.pods, PORT), self.clients() as reports:
            started = time.monotonic()
            event()
            took = time.monotonic() - started
            time.sleep(max(LEAST_SECONDS - took, 0))  # what is lost late is lost, too
        after = self.addresses()
        lost = {
            LOST[0]: sum(len(r["failures"]) for r in reports),
            LOST[1]: sum(r["broken"] + sum(s["error"] != "" for s in r["streams"].values()) for r in reports),
            LOST[2]: _unanswered(reports, "udp://"),
            LOST[3]: _unanswered(reports, "dns://"),
            LOST[4]: sum(after.get(pod) != address for pod, address in before.items()),
        }
        self.total.update(lost)
        asked, slowest = sum(r["requests"] for r in reports), max(r["slowest"] for r in reports)
        moved = sum(s["echoed"] for r in reports for url, s in r["streams"].items() if url.startswith("bulk"))
        figure(f"{name}: took", took, "s")
        figure(f"{name}: of {asked} requests, {moved >> 20} MiB, lost", sum(lost.values()), "of all")
        figure(f"{name}: slowest request", 1000 * slowest, "ms")
        for what, count in lost.items():
            if count:
                figure(f"{name}: {what}", count, "")
                print("".join(f"    {failure}\n" for r in reports for failure in r["failures"][:3]), end="", flush=True)


def _unanswered(reports: list[dict[str, Any]], kind: str) -> int:
    return sum(c["asked"] - c["answered"] for r in reports for url, c in r["datagrams"].items() if url.startswith(kind))


def main() -> None:
    """Measure and print."""
    name = f"swap{os.getpid()}"
    try:
        run([*MOORINGS, "up", "-f", str(FILE), "--name", name])
        bench = Bench(name)
        bench.during("nothing happens", lambda: None)
        if any(bench.total.values()):
            raise SystemExit("this machine loses requests when nothing happens: what follows would say nothing")
        for before, after in itertools.pairwise(pairs()):
            bench.during(f"network {before} to {after}", lambda after=after: bench.lab.moorings("swap", "network", after))
        _proxies(bench)
        bench.during("kill -9 of a node's agent", lambda: places.kill_agent(bench.lab, "node-2"))
        bench.during("kill -9 of the server", lambda: _kill_server(bench.lab))
        for what in LOST:
            budget = "" if what == LOST[3] else "<= 0"
            figure(f"exchanges and restarts under {RATE} requests/s: {what}", bench.total[what], "", budget)
    finally:
        run([*MOORINGS, "down", name])


def _proxies(bench: Bench) -> None:
    """Exchange nftables for every other proxy that this machine can have, and back."""
    lacking = "" if Path("/proc/net/ip_vs").exists() else "this kernel has no ip_vs; tests/vm makes the exchange in a machine that has"
    for other, problem in (("ebpf", missing()), ("ipvs", lacking)):
        if problem:
            print(f"proxy nftables to {other} and back: {problem}", flush=True)
            continue
        for backend in (other, "nftables"):
            bench.during(f"proxy to {backend}", lambda backend=backend: bench.lab.moorings("swap", "proxy", backend))


def _kill_server(lab: Cluster) -> None:
    (server,) = audit.processes_of(layout.find(lab.name).id, "moorings_core.cli server")
    os.kill(server, signal.SIGKILL)
    lab.wait_for("the server answers", lambda: lab.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok")


if __name__ == "__main__":
    main()
