"""CNI ADD and DEL as the runtime does them: the executable run anew for each call.

Run: python -m tests.bench.bench_cni [CALLS]
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "netns/cni"))

from cni_support import Fabric

from tests.bench import report

BUDGETS = {"ADD with two hostPorts": "<= 15", "DEL with two hostPorts": "<= 10"}
PARALLEL, AT_ONCE = 100, "<= 1"


def main(calls: int = 50) -> None:
    with tempfile.TemporaryDirectory() as directory:
        fabric = Fabric(Path(directory), nodes=1)
        try:
            measure(fabric, calls)
            at_once(fabric)
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
    for verb in ("ADD", "DEL"):
        times_of = times[f"{verb} with two hostPorts"] = []
        for number, pod in enumerate(pods):
            start = time.perf_counter()
            code, answer = pod.cni(verb, runtimeConfig=ports(number))
            times_of.append((time.perf_counter() - start) * 1000)
            assert code == 0, answer
    for name, times_of in times.items():
        report.spread(f"CNI {name}", times_of, "ms", BUDGETS.get(name, ""))


def ports(number: int) -> dict[str, object]:
    """Return two hostPorts of a pod."""
    return {"portMappings": [{"hostPort": 8000 + 1000 * i + number, "containerPort": 80, "protocol": "tcp"} for i in range(2)]}


def at_once(fabric: Fabric) -> None:
    """Time a hundred calls that come together, as when a node starts."""
    pods = [fabric.nodes[0].pod() for _ in range(PARALLEL)]
    for verb in ("ADD", "DEL"):
        start = time.perf_counter()
        with ThreadPoolExecutor(PARALLEL) as threads:
            codes = [code for code, _ in threads.map(lambda pod, verb=verb: pod.cni(verb), pods)]
        seconds = time.perf_counter() - start
        assert codes == [0] * PARALLEL
        report.figure(f"CNI {verb}, {PARALLEL} at once", seconds, "s", AT_ONCE if verb == "ADD" else "")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
