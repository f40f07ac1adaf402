"""Scheduler decisions, without the API: columns, filters, scores, placement. Run with `python -m tests.bench.bench_scheduler`."""

from __future__ import annotations

import time
from random import Random

from moorings_core.ports.objects import Key, Object
from moorings_core.scheduler.columns import Columns, PlacedPod
from moorings_core.scheduler.decide import decide
from moorings_core.scheduler.pod_class import classify
from moorings_core.scheduler.preemption import plan
from moorings_core.scheduler.rows import Rows
from moorings_core.scheduler.victims import Budgets, Search

from .report import figure

PODS, PREEMPTIONS = 5000, 200
SPREAD = {"maxSkew": 5, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}}}


def node(index: int) -> Object:
    """A node of 32 cores in one of three zones."""
    labels = {"kubernetes.io/hostname": f"n{index}", "zone": f"z{index % 3}"}
    allocatable = {"cpu": "32", "memory": "128Gi", "pods": "110"}
    return {"metadata": {"name": f"n{index}", "labels": labels}, "spec": {}, "status": {"allocatable": allocatable}}


def pod(spec: Object, *, owned: bool) -> Object:
    """A pod of a small request."""
    resources = {"requests": {"cpu": "100m", "memory": "200Mi"}}
    container = {"name": "c", "image": "i", "resources": resources}
    owners = [{"controller": True, "uid": "u"}] if owned else []
    return {"metadata": {"namespace": "d", "labels": {"app": "a"}, "ownerReferences": owners}, "spec": {"containers": [container], **spec}}


def measure(name: str, nodes: int, spec: Object, *, owned: bool = False, budget: str = "") -> None:
    """Place PODS pods of one template, each decision seeing the one before."""
    columns, rows, tie = Columns(), Rows(), Random(0)
    for index in range(nodes):
        columns.set_node(node(index))
    template = pod(spec, owned=owned)
    begun = time.perf_counter()
    for index in range(PODS):
        key = Key("d", f"p{index}")
        made = classify(template, key)
        decision = decide(columns, rows.of(made, columns), tie)
        assert decision.node
        columns.place(PlacedPod(key, decision.node, made.footprint, made.labels, False))
    figure(f"scheduler decisions, {nodes} nodes, {name}", PODS / (time.perf_counter() - begun), "/s", budget)


def measure_preemption(nodes: int) -> None:
    """Clear a place on full nodes, one pod after the other; each sees the nominations before it."""
    columns, rows, tie = Columns(), Rows(), Random(0)
    low = classify(pod({}, owned=False), Key("d", "low"))
    for index in range(nodes):
        columns.set_node({**node(index), "status": {"allocatable": {"cpu": "3", "memory": "128Gi", "pods": "110"}}})
        for other in range(30):
            columns.place(PlacedPod(Key("d", f"p{index}-{other}"), f"n{index}", low.footprint, low.labels, False))
    high = classify(pod({"priority": 1000}, owned=False), Key("d", "high"))
    begun = time.perf_counter()
    for index in range(PREEMPTIONS):
        row = rows.of(high, columns)
        search = Search(columns, row, Budgets(()), lambda key: key.name)
        found = plan(columns, high, decide(columns, row, tie), search, tie)
        assert len(found.victims) == 1
        columns.place(PlacedPod(Key("d", f"h{index}"), found.node, high.footprint, high.labels, False, 1000, (), True))
        columns.take_away(found.victims[0].key)
    figure(f"preemptions planned, {nodes} nodes of 30 pods", PREEMPTIONS / (time.perf_counter() - begun), "/s")


def main() -> None:
    """Print the figures."""
    for nodes in (100, 1000, 5000):
        measure("plain pods", nodes, {}, budget=">= 680" if nodes == 5000 else "")
    measure("pods of a controller (default spread)", 1000, {}, owned=True)
    measure("hard zone spread", 1000, {"topologySpreadConstraints": [SPREAD]})
    measure("node selector", 1000, {"nodeSelector": {"zone": "z1"}})
    for nodes in (100, 1000, 5000):
        measure_preemption(nodes)


if __name__ == "__main__":
    main()
