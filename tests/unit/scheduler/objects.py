"""Nodes and pods for the scheduler's tests, short to write."""

from __future__ import annotations

from random import Random

from moorings_core.ports.objects import Key, Object
from moorings_core.scheduler.columns import Columns, PlacedPod
from moorings_core.scheduler.decide import Decision, decide
from moorings_core.scheduler.pod_class import classify
from moorings_core.scheduler.preemption import Plan, plan
from moorings_core.scheduler.rows import Rows
from moorings_core.scheduler.victims import NOT_STARTED, Budgets, Search


def node(name: str, *, cpu="4", memory="8Gi", pods="110", labels=None, taints=(), cordoned=False) -> Object:
    spec = {"taints": list(taints)} | ({"unschedulable": True} if cordoned else {})
    own = {"kubernetes.io/hostname": name, **(labels or {})}
    return {
        "metadata": {"name": name, "labels": own},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


def pod(name="p", *, cpu="", memory="", labels=None, **spec) -> Object:
    requests = {k: v for k, v in (("cpu", cpu), ("memory", memory)) if v}
    container = {
        "name": "c",
        "image": "i",
        "resources": {"requests": requests},
    }
    return {"metadata": {"name": name, "namespace": "d", "uid": name, "labels": labels or {}}, "spec": {"containers": [container], **spec}}


class World:
    """Columns with nodes, on which pods are placed one after the other."""

    def __init__(self, *nodes: Object) -> None:
        self.columns, self.rows = Columns(), Rows()
        for one in nodes:
            self.columns.set_node(one)

    def put(self, pod_: Object, where: str, *, nominated: bool = False) -> None:
        key = Key("d", pod_["metadata"]["name"])
        made = classify(pod_, key)
        self.columns.place(PlacedPod(key, where, made.footprint, pod_["metadata"]["labels"], False, made.priority, (), nominated))

    def search(self, pod_: Object, *, budgets=(), starts=None, volumes=None) -> Search:
        row = self.rows.of(classify(pod_, Key("d", pod_["metadata"]["name"])), self.columns)
        return Search(self.columns, row, Budgets(budgets), lambda key: (starts or {}).get(key.name, NOT_STARTED), volumes)

    def plan(self, pod_: Object, **more) -> Plan:
        made = classify(pod_, Key("d", pod_["metadata"]["name"]))
        return plan(self.columns, made, self.decide(pod_), self.search(pod_, **more), Random(0))

    def decide(self, pod_: Object) -> Decision:
        made = classify(pod_, Key("d", pod_["metadata"]["name"]))
        return decide(self.columns, self.rows.of(made, self.columns), Random(0))

    def place(self, pod_: Object) -> str:
        where = self.decide(pod_).node
        if where:
            self.put(pod_, where)
        return where
