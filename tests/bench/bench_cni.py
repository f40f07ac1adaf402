"""CNI ADD and DEL as the runtime does them: the executable run anew for each call. Prints p50 and p90 in ms.

Run: python tests/bench/bench_cni.py [calls]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "netns/cni"))

from cni_support import Fabric


def report(name: str, times: list[float]) -> None:
    cuts = statistics.quantiles(times, n=10)
    print(f"{name:28} p50 {statistics.median(times):6.1f} ms   p90 {cuts[8]:6.1f} ms   n={len(times)}")


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
        report(name, times_of)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
