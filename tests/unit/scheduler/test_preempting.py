"""The scheduler makes room on a real API in memory; the test is the node that ends the pods told to leave."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from moorings_core.client.resources import EVENTS, NODES, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES
from moorings_core.ports.objects import Key
from moorings_core.scheduler.scheduler import Scheduler
from tests.unit.controllers.api import running, until

from .objects import node

CLASSES = {"low": 1, "mid": 100, "high": 1000}


class Cluster:
    """Nodes of one CPU each, and what is asked of them."""

    def __init__(self, core, client):
        self.core, self.client = core, client
        self.start()

    def start(self):
        self.task = asyncio.create_task(Scheduler(self.client).run())

    async def stop(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.result()

    async def add_node(self, name, cpu):
        """Admission taints a new node; nobody else here says that it is ready."""
        await self.client.create(NODES, {"apiVersion": "v1", "kind": "Node", **node(name, cpu=cpu)})
        await self.client.patch(NODES, name, "", {"spec": {"taints": None}})

    async def pod(self, name, priority="", cpu="1", **spec):
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
        body = {"containers": [container], "priorityClassName": priority, "terminationGracePeriodSeconds": 5, **spec}
        await self.client.create(PODS, {"metadata": {"name": name, "namespace": "d", "labels": {"app": name}}, "spec": body})

    def get(self, name):
        stored = self.core.cache.collection("", "pods").get(Key("d", name))
        return stored.object if stored is not None else None

    def node(self, name):
        return (self.get(name) or {"spec": {}})["spec"].get("nodeName", "")

    def nominated(self, name):
        return (self.get(name) or {}).get("status", {}).get("nominatedNodeName", "")

    def going(self, name):
        return "deletionTimestamp" in self.get(name)["metadata"]

    def message(self, name):
        conditions = self.get(name)["status"].get("conditions", ())
        return next((c["message"] for c in conditions if c["type"] == "PodScheduled" and "message" in c), "")

    async def on_node(self, name):
        await until(lambda: self.node(name))
        return self.node(name)

    async def end(self, name):
        """What the node does with a pod that is going."""
        await self.client.delete(PODS, name, "d", grace=0)


@asynccontextmanager
async def scheduling(tmp_path, *names, cpu="1"):
    async with running(tmp_path) as (core, client):
        for name, value in CLASSES.items():
            await client.create(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value})
        await client.create(PRIORITY_CLASSES, {"metadata": {"name": "polite"}, "value": 1000, "preemptionPolicy": "Never"})
        cluster = Cluster(core, client)
        for name in names:
            await cluster.add_node(name, cpu)
        try:
            yield cluster
        finally:
            await cluster.stop()


async def test_a_lower_pod_leaves_with_its_grace_and_the_higher_one_gets_its_place(tmp_path):
    async with scheduling(tmp_path, "a", "b") as cluster:
        await cluster.pod("low", "low")
        await cluster.pod("mid", "mid")
        where = await cluster.on_node("low")
        await cluster.on_node("mid")
        await cluster.pod("high", "high")
        await until(lambda: cluster.going("low"))
        assert cluster.get("low")["metadata"]["deletionGracePeriodSeconds"] == 5
        condition = next(c for c in cluster.get("low")["status"]["conditions"] if c["type"] == "DisruptionTarget")
        assert (condition["status"], condition["reason"]) == ("True", "PreemptionByScheduler")
        assert condition["message"] == "default-scheduler: preempting to accommodate a higher priority pod"
        assert cluster.nominated("high") == where
        assert f"preemption: found a potential placement for pod on node {where}, preempting 1 victims" in cluster.message("high")
        assert not cluster.going("mid")
        await cluster.end("low")
        assert await cluster.on_node("high") == where
        assert not cluster.nominated("high"), "the hint ends with the binding"
        uid = cluster.get("high")["metadata"]["uid"]
        async with asyncio.timeout(5):
            while not (told := [e for e in (await cluster.client.list(EVENTS, "d")).items if e["reason"] == "Preempted"]):
                await asyncio.sleep(0.01)
        assert (told[0]["message"], told[0]["involvedObject"]["name"]) == (f"Preempted by pod {uid} on node {where}", "low")


async def test_the_room_is_kept_from_equals_while_the_victim_goes_and_nobody_else_has_to(tmp_path):
    async with scheduling(tmp_path, "a", "b") as cluster:
        await cluster.pod("low", "low")
        await cluster.pod("lower", "low")
        await cluster.on_node("low")
        await cluster.on_node("lower")
        await cluster.pod("first", "high")
        await until(lambda: cluster.nominated("first"))
        victim = "low" if cluster.node("low") == cluster.nominated("first") else "lower"
        other = "lower" if victim == "low" else "low"
        await until(lambda: cluster.going(victim))
        await cluster.add_node("tiny", "100m")  # everybody is tried again
        await cluster.pod("tiny", "mid", cpu="100m")
        await cluster.on_node("tiny")
        assert not cluster.going(other)
        assert not cluster.node("first")
        await cluster.pod("second", "mid")
        await until(lambda: cluster.going(other))
        assert cluster.nominated("second") == cluster.node(other)
        await cluster.end(victim)
        assert await cluster.on_node("first") == cluster.get("first")["spec"]["nodeName"]
        assert not cluster.node("second")
        await cluster.end(other)
        await cluster.on_node("second")


async def test_a_higher_one_takes_the_nomination_of_a_lower_one(tmp_path):
    async with scheduling(tmp_path, "a") as cluster:
        await cluster.pod("low", "low")
        await cluster.on_node("low")
        await cluster.pod("mid", "mid")
        await until(lambda: cluster.nominated("mid") == "a" and cluster.going("low"))
        await cluster.pod("high", "high")
        await until(lambda: cluster.nominated("high") == "a" and not cluster.nominated("mid"))
        await cluster.end("low")
        await cluster.on_node("high")
        assert not cluster.node("mid")


async def test_who_never_preempts_waits_and_who_can_help_nobody_stays(tmp_path):
    async with scheduling(tmp_path, "a") as cluster:
        await cluster.pod("low", "low")
        await cluster.on_node("low")
        await cluster.pod("polite", "polite")
        await until(lambda: "not eligible due to preemptionPolicy=Never." in cluster.message("polite"))
        await cluster.pod("huge", "high", cpu="2")
        await until(lambda: "Preemption is not helpful" in cluster.message("huge"))
        assert not cluster.going("low")
        assert not cluster.nominated("polite")


async def test_a_nomination_is_found_by_a_scheduler_that_starts(tmp_path):
    """It is the node though another one is emptier, and its room is not given to others."""
    async with scheduling(tmp_path, "a", "b", cpu="2") as cluster:
        await cluster.stop()
        await cluster.pod("there", cpu="1", nodeName="a")
        await cluster.pod("one", "mid")
        await cluster.client.patch(PODS, "one", "d", {"status": {"nominatedNodeName": "a"}}, subresource="status")
        await cluster.pod("other", "high", cpu="2")
        cluster.start()
        assert await cluster.on_node("other") == "b"
        assert await cluster.on_node("one") == "a"


async def test_a_budget_makes_the_node_without_one_the_place(tmp_path):
    async with scheduling(tmp_path, "a", "b") as cluster:
        await cluster.pod("kept", "low")
        await cluster.pod("loose", "mid")
        where = await cluster.on_node("loose")
        await cluster.on_node("kept")
        spec = {"selector": {"matchLabels": {"app": "kept"}}, "minAvailable": 1}
        await cluster.client.create(POD_DISRUPTION_BUDGETS, {"metadata": {"name": "b", "namespace": "d"}, "spec": spec})
        await cluster.pod("high", "high")
        await until(lambda: cluster.going("loose"))
        assert cluster.nominated("high") == where
        assert not cluster.going("kept")
