"""CNI ADD and DEL as the runtime does them: the executable run anew for each call.

Run: python -m tests.bench.bench_cni [CALLS]
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "netns/cni"))

from cni_support import Fabric

from tests.bench import report

BUDGETS = {"ADD": "<= 20"}


def main(calls: int = 50) -> None:
    with tempfile.TemporaryDirectory() as directory:
        fabric = Fabric(Path(directory), nodes=1)
        try:
            measure(fabric, calls)
        finally:
            fabric.close()


def measure(fabric: Fabric, calls: int) -> None:
    node = fabric.nodes[0]
    pods = [node.pod() for _ in range(calls)]
    times: dict[str, list[float]] = {"ADD": [], "DEL": [], "VERSION (client + socket)": []}
    for name, times_of in times.items():
        for pod in pods:
            start = time.perf_counter()
            code, answer = pod.cni(name.split()[0])
            times_of.append((time.perf_counter() - start) * 1000)
            assert code == 0, answer
    ports = {"portMappings": [{"hostPort": 8000, "containerPort": 80, "protocol": "tcp"}]}
    times["ADD with hostPort"] = []
    for number, pod in enumerate(pods):
        ports["portMappings"][0]["hostPort"] = 8000 + number
        start = time.perf_counter()
        pod.add(runtimeConfig=ports)
        times["ADD with hostPort"].append((time.perf_counter() - start) * 1000)
    for name, times_of in times.items():
        report.spread(f"CNI {name}", times_of, "ms", BUDGETS.get(name, ""))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
