"""Deployments and their ReplicaSets: rollouts step by step, and their bounds under random orders of events."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moorings_core.client.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from moorings_core.controllers import revisions, rollout
from moorings_core.controllers.deployment import DeploymentController
from moorings_core.controllers.replicaset import ReplicaSetController
from moorings_core.controllers.rollout import Sets, Sized
from moorings_core.ports.errors import Forbidden

from .simulator import Api, Kubelet, World, phase

REVISION = "deployment.kubernetes.io/revision"


def deployment(replicas=3, image="v1", **spec):
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    base = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template, "strategy": strategy}
    base |= {"progressDeadlineSeconds": 600, "revisionHistoryLimit": 10}
    return {"metadata": {"name": "web", "namespace": "d"}, "spec": base | spec}


def world(seed=0, **options):
    api = Api(seed)
    return api, Kubelet(api), World(api, [DeploymentController(), ReplicaSetController()], **options)


def change(api, **spec):
    current = api.read(DEPLOYMENTS, "web", "d")
    return api.update(DEPLOYMENTS, {**current, "spec": {**current["spec"], **spec}})


def image(api, name):
    template = deployment(image=name)["spec"]["template"]
    return change(api, template=template)


async def finish(world, kubelet):
    for _ in range(60):
        await world.settle()
        if not kubelet.all_ready():
            return
    raise AssertionError("rollout does not end")


def conditions(api):
    return {c["type"]: (c["status"], c["reason"]) for c in api.read(DEPLOYMENTS, "web", "d")["status"]["conditions"]}


def sizes(api):
    return sorted((s["spec"]["template"]["spec"]["containers"][0]["image"], s["spec"]["replicas"]) for s in api.all(REPLICA_SETS))


async def test_from_nothing_to_available():
    api, kubelet, sim = world()
    api.create(DEPLOYMENTS, deployment())
    await sim.settle()
    (owned,) = api.all(REPLICA_SETS)
    assert owned["metadata"]["name"] == f"web-{owned['metadata']['labels']['pod-template-hash']}"
    assert owned["metadata"]["annotations"] == {
        REVISION: "1",
        "deployment.kubernetes.io/desired-replicas": "3",
        "deployment.kubernetes.io/max-replicas": "4",
    }
    assert len(api.all(PODS)) == 3
    assert conditions(api)["Available"] == ("False", "MinimumReplicasUnavailable")
    await finish(sim, kubelet)
    status = api.read(DEPLOYMENTS, "web", "d")["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 3, 3)
    assert status["observedGeneration"] == 1
    assert conditions(api) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert ("Normal", "ScalingReplicaSet", f"Scaled up replica set {owned['metadata']['name']} from 0 to 3") in sim.recorder.told
    written = api.version
    await sim.settle()
    sim.restart()
    await sim.settle()
    assert api.version == written, "a finished rollout writes nothing, not even after a restart"


async def test_rolling_update_and_rollback_renumber_revisions():
    api, kubelet, sim = world()
    api.create(DEPLOYMENTS, deployment())
    await finish(sim, kubelet)
    image(api, "v2")
    await finish(sim, kubelet)
    assert sizes(api) == [("v1", 0), ("v2", 3)]
    assert api.read(DEPLOYMENTS, "web", "d")["metadata"]["annotations"][REVISION] == "2"
    image(api, "v1")
    await finish(sim, kubelet)
    assert sizes(api) == [("v1", 3), ("v2", 0)]
    annotations = {s["spec"]["replicas"]: s["metadata"]["annotations"] for s in api.all(REPLICA_SETS)}
    assert annotations[3][REVISION] == "3" and annotations[3]["deployment.kubernetes.io/revision-history"] == "1"
    assert api.read(DEPLOYMENTS, "web", "d")["metadata"]["annotations"][REVISION] == "3"


async def test_recreate_waits_until_the_last_old_pod_is_gone():
    api, kubelet, sim = world()
    api.create(DEPLOYMENTS, deployment(strategy={"type": "Recreate"}))
    await finish(sim, kubelet)
    image(api, "v2")
    await sim.settle()
    assert sizes(api) == [("v1", 0)], "no new set while old pods run"
    first, *others = api.all(PODS)
    for pod in others:
        kubelet.stop(pod)
    await sim.settle()
    assert sizes(api) == [("v1", 0)]
    kubelet.stop(first)
    await finish(sim, kubelet)
    assert sizes(api) == [("v1", 0), ("v2", 3)]


async def test_pause_holds_the_rollout_but_not_scaling():
    api, kubelet, sim = world()
    api.create(DEPLOYMENTS, deployment(replicas=2))
    await finish(sim, kubelet)
    change(api, paused=True, template=deployment(image="v2")["spec"]["template"])
    await finish(sim, kubelet)
    assert sizes(api) == [("v1", 2)]
    assert conditions(api)["Progressing"] == ("Unknown", "DeploymentPaused")
    change(api, replicas=5)
    await finish(sim, kubelet)
    assert sizes(api) == [("v1", 5)]
    change(api, paused=False)
    await finish(sim, kubelet)
    assert sizes(api) == [("v1", 0), ("v2", 5)]
    assert conditions(api)["Progressing"] == ("True", "NewReplicaSetAvailable")


async def test_progress_deadline():
    api, kubelet, sim = world()
    api.create(DEPLOYMENTS, deployment(progressDeadlineSeconds=60))
    await sim.settle()
    await sim.pass_time(50)
    assert conditions(api)["Progressing"][0] == "True"
    await sim.pass_time(15)
    assert conditions(api)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    await finish(sim, kubelet)
    assert conditions(api)["Progressing"] == ("True", "NewReplicaSetAvailable")


async def test_history_limit_removes_the_oldest_empty_sets():
    api, kubelet, sim = world()
    api.create(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=2))
    for name in ("v1", "v2", "v3", "v4", "v5"):
        image(api, name)
        await finish(sim, kubelet)
    assert sizes(api) == [("v3", 0), ("v4", 0), ("v5", 1)]


async def test_hash_collision_is_counted_and_resolved():
    api, kubelet, sim = world()
    made = api.create(DEPLOYMENTS, deployment())
    taken = revisions.new_set(made, Sets(None))
    taken["metadata"]["ownerReferences"] = []
    taken["spec"]["template"] = {**taken["spec"]["template"], "spec": {"containers": [{"name": "other"}]}}
    taken["metadata"]["labels"] = {}
    taken["spec"]["replicas"] = 0
    api.create(REPLICA_SETS, taken)
    await finish(sim, kubelet)
    assert api.read(DEPLOYMENTS, "web", "d")["status"]["collisionCount"] == 1
    assert api.read(DEPLOYMENTS, "web", "d")["status"]["availableReplicas"] == 3
    assert len(api.all(REPLICA_SETS)) == 2


async def test_refused_pods_show_in_conditions_and_clear():
    api, kubelet, sim = world()
    refused = []

    def refuse(write):
        if getattr(write, "resource", None) == PODS and hasattr(write, "object"):
            refused.append(write)
            return Forbidden("exceeded quota")
        return None

    api.refuse = refuse
    api.create(DEPLOYMENTS, deployment())
    await sim.settle()
    assert conditions(api)["ReplicaFailure"] == ("True", "FailedCreate")
    assert ("Warning", "FailedCreate", "Error creating: exceeded quota") in sim.recorder.told
    assert len(refused) < 20, "refused creates are tried singly, with growing pauses"
    api.refuse = lambda write: None
    await sim.pass_time(120)
    await finish(sim, kubelet)
    assert "ReplicaFailure" not in conditions(api)
    assert len(api.all(PODS)) == 3


async def test_lagging_watch_does_not_make_it_act_twice():
    """Nothing is delivered to the caches at all: only answers to our own writes are known."""
    api, _, sim = world()
    api.create(DEPLOYMENTS, deployment())
    sim.deliver(DEPLOYMENTS, 1)
    for _ in range(50):
        for loop in sim.loops:
            await sim.step(loop)
    assert len(api.all(REPLICA_SETS)) == 1
    assert len(api.all(PODS)) == 3


async def test_adopts_matching_orphans_and_releases_the_relabelled():
    api, kubelet, sim = world()
    api.create(DEPLOYMENTS, deployment(replicas=2))
    await finish(sim, kubelet)
    (owned,) = api.all(REPLICA_SETS)
    labels = owned["spec"]["template"]["metadata"]["labels"]
    api.create(PODS, {"metadata": {"name": "stray", "namespace": "d", "labels": labels}, "spec": {"containers": []}})
    first = api.all(PODS)[0]
    api.update(PODS, {**first, "metadata": {**first["metadata"], "labels": {"app": "debug"}}})
    await finish(sim, kubelet)
    owners = {p["metadata"]["name"]: [r["name"] for r in p["metadata"].get("ownerReferences") or ()] for p in api.all(PODS)}
    assert owners[first["metadata"]["name"]] == []
    assert sum(1 for names in owners.values() if names) == 2


@pytest.mark.parametrize("seed", range(25))
async def test_bounds_hold_at_every_instant(seed):
    """Template changes, scaling, pauses, crashes and lost readiness in random order: never above surge, never below the bound.

    The lower bound is on what controllers take away: pods deleted by them never bring the ready ones below it.
    """
    rng = random.Random(seed)
    api, kubelet, sim = world(seed)
    surge, unavailable, replicas = rng.randint(0, 3), rng.randint(0, 3), rng.randint(1, 8)
    unavailable = unavailable or (0 if surge else 1)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    api.create(DEPLOYMENTS, deployment(replicas=replicas, strategy=rolling))
    limit = [replicas + surge]

    def watch():
        assert sum(s["spec"]["replicas"] for s in api.all(REPLICA_SETS)) <= limit[0]
        for owned in api.all(REPLICA_SETS):
            uid = owned["metadata"]["uid"]
            mine = [p for p in api.all(PODS) if any(r["uid"] == uid for r in p["metadata"].get("ownerReferences", ()))]
            alive = [p for p in mine if not p["metadata"].get("deletionTimestamp") and phase(p) not in ("Failed", "Succeeded")]
            assert len(alive) <= limit[0]

    api.observer = watch

    def chance():
        if rng.random() < 0.06:
            image(api, f"v{rng.randint(1, 4)}")
        elif rng.random() < 0.02:
            change(api, paused=rng.random() < 0.5)
        else:
            kubelet.some_deed(rng)

    await sim.storm(rng, 400, chance)
    change(api, paused=False)
    await finish(sim, kubelet)
    for pod in api.all(PODS):
        kubelet.report(pod, "Running", True)
    await finish(sim, kubelet)
    wanted = api.read(DEPLOYMENTS, "web", "d")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert [entry for entry in sizes(api) if entry[1]] == [(wanted, replicas)]
    assert len(api.all(PODS)) == replicas
    assert conditions(api)["Progressing"] == ("True", "NewReplicaSetAvailable")


@pytest.mark.parametrize("seed", range(40))
async def test_a_healthy_rollout_never_goes_below_the_available_bound(seed):
    rng = random.Random(seed)
    api, kubelet, sim = world(seed)
    surge, unavailable, replicas = rng.randint(0, 2), rng.randint(0, 2), rng.randint(2, 7)
    unavailable = min(unavailable or (0 if surge else 1), replicas)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    api.create(DEPLOYMENTS, deployment(replicas=replicas, strategy=rolling))
    await finish(sim, kubelet)

    def serving():
        return [
            p
            for p in api.all(PODS)
            if not p["metadata"].get("deletionTimestamp") and p.get("status", {}).get("conditions", [{}])[0].get("status") == "True"
        ]

    def watch():
        assert len(serving()) >= replicas - unavailable

    api.observer = watch

    def deed():
        waiting = [p for p in api.all(PODS) if phase(p) == "Pending" or p["metadata"].get("deletionTimestamp")]
        if waiting:
            pod = rng.choice(waiting)
            if not pod["metadata"].get("deletionTimestamp"):
                kubelet.start(pod)
            elif pod["metadata"].get("deletionGracePeriodSeconds"):
                kubelet.stop(pod)

    image(api, "v2")
    await sim.storm(rng, 300, deed)
    image(api, "v3")
    await sim.storm(rng, 300, deed)
    await finish(sim, kubelet)
    assert [entry for entry in sizes(api) if entry[1]] == [("v3", replicas)]


@pytest.mark.parametrize(
    ("strategy", "replicas", "expected"),
    [
        ({"maxSurge": "25%", "maxUnavailable": "25%"}, 10, (3, 2)),
        ({"maxSurge": "25%", "maxUnavailable": "25%"}, 1, (1, 0)),
        ({"maxSurge": 0, "maxUnavailable": "10%"}, 3, (0, 1)),
        ({"maxSurge": 0, "maxUnavailable": 0}, 3, (0, 1)),
        ({"maxSurge": "100%", "maxUnavailable": 50}, 3, (3, 3)),
        ({}, 8, (2, 2)),
    ],
)
def test_fenceposts(strategy, replicas, expected):
    made = deployment(replicas=replicas, strategy={"type": "RollingUpdate", "rollingUpdate": strategy})
    assert (rollout.surge(made), rollout.unavailable(made)) == expected


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(0, 60), st.integers(0, 5))
@example([1, 1, 1, 1, 1], 1, 2)
def test_proportional_scaling_meets_the_sum_as_far_as_the_largest_set_can(before, replicas, surge):
    """The parts add up to what is allowed, and none is negative. What rounding leaves is the largest one's; more than it has stays."""
    made = deployment(replicas=replicas, strategy={"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 1}})
    old = sum(before) - surge if sum(before) > surge else sum(before)
    annotations = {rollout.DESIRED: str(old), rollout.MAXIMUM: str(sum(before))}
    sets = [
        Sized({"metadata": {"name": f"s{i}", "annotations": annotations, "creationTimestamp": ""}, "spec": {"replicas": n}}, n)
        for i, n in enumerate(before)
    ]
    rollout.scale(made, Sets(None, sets))
    assert all(each.replicas >= 0 for each in sets)
    left = rollout.total(sets) - (replicas + surge if replicas else 0)
    assert left == 0 or (left > 0 and any(n == max(before) and not each.replicas for n, each in zip(before, sets, strict=True)))


def test_proportional_scaling_of_a_rollout_in_the_middle():
    """10 -> 20 replicas with 8 old and 5 new pods (surge 3): the shares stay 8:5 of 23."""
    made = deployment(replicas=20, strategy={"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    annotations = {rollout.DESIRED: "10", rollout.MAXIMUM: "13"}
    sets = [
        Sized({"metadata": {"name": name, "annotations": annotations, "creationTimestamp": t}, "spec": {"replicas": n}}, n)
        for name, n, t in (("old", 8, "2020"), ("new", 5, "2021"))
    ]
    rollout.scale(made, Sets(sets[1], sets[:1]))
    assert [each.replicas for each in sets] == [14, 9]
