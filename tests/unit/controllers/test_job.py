"""Jobs: each pod counted once over crashes, retries with backoff, deadlines, suspension, expiry, indexes."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.client.resources import JOBS, PODS
from moorings_core.controllers.job import JobController
from moorings_core.controllers.job_count import INDEX, TRACKING, format_indexes, parse_indexes

from .simulator import Api, Kubelet, World, phase


def job(name="j", **spec):
    labels = {"batch.kubernetes.io/controller-uid": name, "batch.kubernetes.io/job-name": name}
    template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    base = {"completions": 1, "parallelism": 1, "backoffLimit": 6, "template": template}
    base["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": name}}
    return {"metadata": {"name": name, "namespace": "d"}, "spec": base | spec}


def world(seed=0):
    api = Api(seed)
    return api, Kubelet(api), World(api, [JobController()])


def status(api):
    return api.read(JOBS, "j", "d")["status"]


def true_conditions(api):
    return {c["type"]: c["reason"] for c in status(api).get("conditions", ()) if c["status"] == "True"}


def running(api):
    return [p for p in api.all(PODS) if phase(p) in ("Pending", "Running") and not p["metadata"].get("deletionTimestamp")]


async def end_all(api, kubelet, sim, how="Succeeded"):
    for pod in running(api):
        kubelet.start(pod)
        kubelet.report(pod, how)
    await sim.settle()


async def test_completes_and_lets_go_of_its_pods():
    api, kubelet, sim = world()
    api.create(JOBS, job(completions=3, parallelism=2))
    await sim.settle()
    assert len(api.all(PODS)) == 2 and all(TRACKING in p["metadata"]["finalizers"] for p in api.all(PODS))
    assert (status(api)["active"], status(api)["ready"]) == (2, 0)
    await end_all(api, kubelet, sim)
    assert len(api.all(PODS)) == 3 and status(api)["succeeded"] == 2
    await end_all(api, kubelet, sim)
    assert true_conditions(api) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert status(api)["succeeded"] == 3 and status(api)["completionTime"]
    assert "active" not in status(api) and status(api)["uncountedTerminatedPods"] == {}
    assert not any(p["metadata"].get("finalizers") for p in api.all(PODS))
    assert ("Normal", "Completed", "Job completed") in sim.recorder.told
    written = api.version
    sim.restart()
    await sim.settle()
    assert api.version == written


async def test_fails_past_the_backoff_limit_and_waits_longer_each_time():
    api, kubelet, sim = world()
    api.create(JOBS, job(backoffLimit=2))
    await sim.settle()
    for wait in (10, 20):
        await end_all(api, kubelet, sim, "Failed")
        await sim.pass_time(wait - 2)
        assert not running(api)
        await sim.pass_time(3)
        assert len(running(api)) == 1
    await end_all(api, kubelet, sim, "Failed")
    assert true_conditions(api) == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
    assert status(api)["failed"] == 3 and "completionTime" not in status(api)


async def test_active_deadline_stops_what_runs():
    api, kubelet, sim = world()
    api.create(JOBS, job(completions=2, parallelism=2, activeDeadlineSeconds=30))
    await sim.settle()
    for pod in running(api):
        kubelet.start(pod)
    await sim.pass_time(29)
    assert len(running(api)) == 2
    await sim.pass_time(2)
    assert not running(api)
    assert "Failed" not in true_conditions(api), "not over before the pods are"
    for pod in api.all(PODS):
        kubelet.stop(pod)
    await sim.settle()
    assert true_conditions(api)["Failed"] == "DeadlineExceeded" and status(api)["failed"] == 2
    assert not api.all(PODS)


async def test_suspend_and_resume():
    api, _kubelet, sim = world()
    api.create(JOBS, job(suspend=True, parallelism=2, completions=2))
    await sim.settle()
    assert not api.all(PODS) and true_conditions(api) == {"Suspended": "JobSuspended"} and "startTime" not in status(api)
    current = api.read(JOBS, "j", "d")
    api.update(JOBS, {**current, "spec": {**current["spec"], "suspend": False}})
    await sim.settle()
    assert len(running(api)) == 2 and status(api)["startTime"]
    current = api.read(JOBS, "j", "d")
    api.update(JOBS, {**current, "spec": {**current["spec"], "suspend": True}})
    await sim.settle()
    assert not running(api)
    assert {e[1] for e in sim.recorder.told} >= {"Suspended", "Resumed", "SuccessfulDelete"}


async def test_expires_after_its_time_to_live():
    api, kubelet, sim = world()
    api.create(JOBS, job(ttlSecondsAfterFinished=60))
    await sim.settle()
    await end_all(api, kubelet, sim)
    await sim.pass_time(59)
    assert not api.read(JOBS, "j", "d")["metadata"].get("deletionTimestamp")
    await sim.pass_time(2)
    assert api.read(JOBS, "j", "d")["metadata"]["finalizers"] == ["foregroundDeletion"]


async def test_pods_of_a_deleted_job_are_let_go():
    api, _kubelet, sim = world()
    api.create(JOBS, job(parallelism=2, completions=2))
    await sim.settle()
    api.delete(JOBS, "j", "d")
    for pod in api.all(PODS):
        api.delete(PODS, pod["metadata"]["name"], "d")
    assert len(api.all(PODS)) == 2, "the finalizer holds them"
    await sim.settle()
    assert not api.all(PODS)


async def test_indexed():
    api, kubelet, sim = world()
    api.create(JOBS, job(completionMode="Indexed", completions=5, parallelism=3))
    await sim.settle()
    assert sorted(p["metadata"]["annotations"][INDEX] for p in api.all(PODS)) == ["0", "1", "2"]
    one = next(p for p in api.all(PODS) if p["metadata"]["labels"][INDEX] == "1")
    assert one["spec"]["hostname"] == "j-1" and one["metadata"]["name"].startswith("j-1-")
    assert one["spec"]["containers"][0]["env"] == [
        {
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
        }
    ]
    kubelet.start(one)
    kubelet.report(one, "Failed")
    await sim.pass_time(15)
    again = [p for p in running(api) if p["metadata"]["annotations"][INDEX] == "1"]
    assert len(again) == 1
    for _ in range(3):
        await end_all(api, kubelet, sim)
    assert status(api)["completedIndexes"] == "0-4" and status(api)["succeeded"] == 5 and status(api)["failed"] == 1
    assert "Complete" in true_conditions(api)


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("seed", range(15))
async def test_every_pod_is_counted_exactly_once(seed, indexed):
    """Pods succeed, fail and are deleted by others while the controller crashes at random, between and within commits."""
    rng = random.Random(seed)
    api, kubelet, sim = world(seed)
    completions = rng.randint(1, 8)
    mode = {"completionMode": "Indexed"} if indexed else {}
    api.create(JOBS, job(completions=completions, parallelism=rng.randint(1, 5), backoffLimit=10_000, **mode))
    ended: dict[str, tuple[str, str]] = {}

    def watch():
        for pod in api.all(PODS):
            index = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
            if phase(pod) in ("Succeeded", "Failed"):
                ended.setdefault(pod["metadata"]["uid"], (phase(pod), index))
            elif pod["metadata"].get("deletionTimestamp"):
                ended.setdefault(pod["metadata"]["uid"], ("Failed", index))
        found = api.all(JOBS)[0].get("status", {})
        done = sum(1 for how, _ in ended.values() if how == "Failed")
        assert found.get("failed", 0) <= done
        assert indexed or found.get("succeeded", 0) <= sum(1 for how, _ in ended.values() if how == "Succeeded")

    api.observer = watch

    def chance():
        pods = api.all(PODS)
        if pods and rng.random() < 0.1:
            victim = rng.choice(pods)["metadata"]
            api.delete(PODS, victim["name"], "d", grace=rng.choice([0, None]))
        kubelet.some_deed(rng, finish=("Succeeded", "Failed"))
        if rng.random() < 0.1:
            api.now += timedelta(seconds=60)

    await sim.storm(rng, 500, chance)
    for _ in range(200):
        await sim.pass_time(400)
        for pod in api.all(PODS):
            if pod["metadata"].get("deletionTimestamp") and pod["metadata"].get("deletionGracePeriodSeconds"):
                kubelet.stop(pod)
        await end_all(api, kubelet, sim)
        if "Complete" in true_conditions(api):
            break
    await sim.settle()
    assert "Complete" in true_conditions(api)
    assert status(api).get("failed", 0) == sum(1 for how, _ in ended.values() if how == "Failed")
    if indexed:
        assert parse_indexes(status(api)["completedIndexes"]) == set(range(completions))
        assert {i for how, i in ended.values() if how == "Succeeded"} == {str(i) for i in range(completions)}
    else:
        assert status(api)["succeeded"] == sum(1 for how, _ in ended.values() if how == "Succeeded") >= completions
    assert not any(TRACKING in p["metadata"].get("finalizers", ()) for p in api.all(PODS))


@given(st.sets(st.integers(0, 200)))
def test_index_lists_round_trip(indexes):
    assert parse_indexes(format_indexes(indexes)) == indexes


def test_index_lists_are_written_as_upstream_does():
    assert format_indexes([1, 3, 4, 5, 7, 8]) == "1,3-5,7,8"
    assert format_indexes([]) == ""
