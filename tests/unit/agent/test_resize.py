"""What a pod that is resized in place runs with, and what follows for its runs."""

import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from moorings_core.agent import resize
from moorings_core.agent.plan import Backoff, Memory, StartContainer
from moorings_core.agent.plan import plan as next_steps
from moorings_core.agent.spec import RESOURCES, resources

from .builders import container, observed, pod, run

SMALL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}
GREAT = {"requests": {"cpu": "300m", "memory": "64Mi"}, "limits": {"cpu": "400m", "memory": "256Mi"}}
NODE = 1 << 30


def born_with(given_, name="main", attempt=0, policy="Always"):
    """Return a run that was made with some resources."""
    one = run(name, attempt=attempt)
    limits = resources(pod(container(name, resources=given_)), container(name, resources=given_), NODE)
    return dataclasses.replace(one, detail=dataclasses.replace(one.detail, annotations={RESOURCES: json.dumps(dataclasses.asdict(limits))}))


def planned(wanted, *runs, applied=None, **fields):
    return resize.plan(pod(container(resources=wanted, **fields)), observed(*runs), {} if applied is None else applied, NODE)


def test_what_has_what_it_was_granted_is_left_alone():
    assert planned(SMALL, born_with(SMALL)) == []


def test_other_limits_are_given_to_the_run():
    (update,) = planned(GREAT, born_with(SMALL))
    assert (update.limits.memory, update.limits.cpu_quota, update.restart, update.less_memory) == (256 << 20, 40000, False, False)


def test_less_memory_is_marked():
    assert planned(SMALL, born_with(GREAT))[0].less_memory
    assert planned(SMALL, born_with({"requests": SMALL["requests"]}))[0].less_memory


def test_only_a_change_of_what_the_policy_names_restarts():
    policy = {"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]}
    only_cpu = {"requests": GREAT["requests"], "limits": {**GREAT["limits"], "memory": "128Mi"}}
    assert not planned(only_cpu, born_with(SMALL), **policy)[0].restart
    assert planned(GREAT, born_with(SMALL), **policy)[0].restart


def test_a_run_that_says_nothing_of_its_limits_is_left_alone():
    assert planned(GREAT, run()) == []


def test_an_update_is_remembered_and_runs_that_are_gone_are_forgotten():
    applied = {"gone": resize.Applied(resources(pod(), container(resources=SMALL), NODE), SMALL)}
    (update,) = planned(GREAT, born_with(SMALL), applied=applied)
    assert set(applied) == {"main-0"}
    applied["main-0"] = resize.Applied(update.limits, update.resources)
    assert planned(GREAT, born_with(SMALL), applied=applied) == []


def test_a_run_that_ended_to_be_resized_starts_at_once_whatever_the_policy():
    memory = Memory(resized={"main-0"})
    ended = run(state="exited", code=0)
    steps = next_steps(pod(restartPolicy="OnFailure"), observed(ended), {}, memory, Backoff(10, 300), 0.0)
    assert steps.operations == (StartContainer("main", 1),)


def test_after_a_restart_of_the_agent_the_status_says_what_was_granted():
    status = {"containerStatuses": [{"name": "main", "resources": SMALL, "allocatedResources": SMALL["requests"]}]}
    assert resize.granted_before(pod(container(resources=GREAT), status=status)) == {"main": SMALL}
    assert resize.granted_before(pod(container(resources=GREAT))) == {"main": GREAT}


def test_a_pod_runs_with_what_was_granted():
    found = resize.with_granted(pod(container(resources=GREAT), container("more")), {"main": SMALL})
    assert [c["resources"] for c in found["spec"]["containers"]] == [SMALL, {}]


def test_the_shortage_says_what_is_asked_used_and_there():
    text = resize.shortage(pod(container(resources=GREAT)), [pod(container(resources=SMALL))], {"cpu": "350m", "memory": "1Gi"})
    assert text == "Node didn't have enough resource: cpu, requested: 300, used: 100, capacity: 350"


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 100))
def test_there_is_room_exactly_when_the_sum_fits(wanted, used, room):
    other = [pod(container(resources={"requests": {"memory": str(used)}}))]
    text = resize.shortage(pod(container(resources={"requests": {"memory": str(wanted)}})), other, {"cpu": "1", "memory": str(room)})
    assert (text == "") == (wanted + used <= room)
