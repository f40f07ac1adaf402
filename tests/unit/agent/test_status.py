"""A pod's status from what the runtime has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.agent.observed import Observed
from moorings_core.agent.plan import Memory, ProbeView
from moorings_core.agent.status import View, pod_status, timestamp

from .builders import container, observed, pod, run, sandbox, sidecar

PROBE = {"exec": {"command": ["true"]}}


def view(seen, **fields):
    given_ = {"probes": {}, "waiting": {}, "memory": Memory(), "host_addresses": ("192.0.2.1",), "runtime": "containerd", "now": 100.0}
    return View(seen, **(given_ | fields))


def status(pod_, seen, **fields):
    return pod_status(pod_, view(seen, **fields))


def conditions(found):
    return {c["type"]: c["status"] for c in found["conditions"]}


def only(found):
    [one] = found["containerStatuses"]
    return one


def test_a_new_pod_is_pending_and_being_created():
    found = status(pod(), Observed())
    assert found["phase"] == "Pending"
    assert only(found)["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(found) == {"PodReadyToStartContainers": "False", "Initialized": "True", "Ready": "False", "ContainersReady": "False"}


def test_a_running_pod_is_ready_and_has_its_addresses():
    found = status(pod(), observed(run(started=50), addresses=("10.0.0.1", "fd00::1")))
    assert (found["phase"], found["podIP"]) == ("Running", "10.0.0.1")
    assert found["podIPs"] == [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    assert found["hostIPs"] == [{"ip": "192.0.2.1"}]
    assert only(found)["state"] == {"running": {"startedAt": timestamp(50)}}
    assert only(found)["containerID"] == "containerd://main-0"
    assert set(conditions(found).values()) == {"True"}


def test_a_pod_on_the_nodes_network_has_the_nodes_address():
    assert status(pod(hostNetwork=True), observed(run(), addresses=()))["podIP"] == "192.0.2.1"


def test_a_pod_keeps_its_addresses_in_the_status_when_its_sandbox_is_gone():
    known = pod(status={"podIPs": [{"ip": "10.0.0.9"}]})
    assert status(known, observed(run(state="exited"), addresses=()))["podIP"] == "10.0.0.9"


@pytest.mark.parametrize(("probe", "ready"), [(ProbeView(True, True, None), True), (ProbeView(True, False, None), False)])
def test_readiness_is_the_probes_word(probe, ready):
    found = status(pod(container(readinessProbe=PROBE)), observed(run()), probes={"main-0": probe})
    assert only(found)["ready"] is ready
    assert conditions(found)["Ready"] == str(ready)


def test_a_container_has_not_started_before_its_startup_probe_says_so():
    spec = pod(container(startupProbe=PROBE))
    assert only(status(spec, observed(run()), probes={"main-0": ProbeView(None, None, None)}))["started"] is False
    assert only(status(spec, observed(run()), probes={"main-0": ProbeView(True, None, None)}))["ready"] is True


def test_a_restarted_container_tells_of_the_run_before():
    found = only(status(pod(), observed(run(attempt=1), run(state="exited", code=3, attempt=0, finished=7))))
    assert found["restartCount"] == 1
    assert found["lastState"]["terminated"]["exitCode"] == 3
    assert found["lastState"]["terminated"]["reason"] == "Error"


def test_a_container_that_waits_for_its_next_run_is_in_crash_loop_back_off():
    memory = Memory(failures={"main": 2}, counted={"main": "main-1"}, not_before={"main": 130.0})
    found = only(status(pod(), observed(run(state="exited", code=1, attempt=1, finished=110)), memory=memory))
    assert found["state"]["waiting"] == {
        "reason": "CrashLoopBackOff",
        "message": "back-off 20s restarting failed container=main pod=p_n(u)",
    }
    assert found["lastState"]["terminated"]["exitCode"] == 1


def test_an_image_that_is_not_there_is_told_as_the_reason_of_waiting():
    found = only(status(pod(), observed(), waiting={"main": ("ErrImagePull", "no such host")}))
    assert found["state"] == {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}


def test_the_runtimes_reason_is_kept():
    found = only(status(pod(restartPolicy="Never"), observed(run(state="exited", code=137, reason="OOMKilled"))))
    assert found["state"]["terminated"]["reason"] == "OOMKilled"


def test_last_words_are_in_the_terminated_state():
    found = only(status(pod(restartPolicy="Never"), observed(run(state="exited")), messages={"main-0": "bye"}))
    assert found["state"]["terminated"]["message"] == "bye"


def test_init_containers_are_told_apart_and_make_the_pod_initialized():
    spec = pod(initContainers=[container("i"), sidecar("s")])
    pending = status(spec, observed(run("i")))
    assert conditions(pending)["Initialized"] == "False"
    assert only(pending)["state"]["waiting"]["reason"] == "PodInitializing"
    assert pending["phase"] == "Pending"
    done = status(spec, observed(run("i", "exited"), run("s"), run()))
    assert conditions(done)["Initialized"] == "True"
    assert [s["ready"] for s in done["initContainerStatuses"]] == [True, True]


def test_a_sidecar_that_is_not_ready_makes_the_pod_unready():
    spec = pod(initContainers=[sidecar("s", readinessProbe=PROBE)])
    found = status(spec, observed(run("s"), run()), probes={"s-0": ProbeView(True, False, None)})
    assert conditions(found)["Ready"] == "False"


class TestPhase:
    @pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (1, "Failed")])
    def test_a_finished_pod_has_the_phase_of_its_exit_codes(self, code, phase):
        found = status(pod(restartPolicy="Never"), observed(run(state="exited", code=code)))
        assert found["phase"] == phase
        assert {c["reason"] for c in found["conditions"] if c["type"] in ("Ready", "ContainersReady")} == {
            "PodCompleted" if phase == "Succeeded" else "PodFailed"
        }

    def test_a_pod_whose_sidecar_still_runs_is_running(self):
        found = status(pod(initContainers=[sidecar("s")], restartPolicy="Never"), observed(run(state="exited"), run("s")))
        assert found["phase"] == "Running"

    def test_a_finished_phase_never_changes(self):
        known = pod(status={"phase": "Failed"})
        assert status(known, observed(run()))["phase"] == "Failed"

    @pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (143, "Failed")])
    def test_a_deleted_pod_ends_with_a_final_phase_whatever_its_policy(self, code, phase):
        assert status(pod(), observed(run(state="exited", code=code)), terminated=True)["phase"] == phase

    def test_the_agents_verdict_fails_the_pod_with_its_reason(self):
        verdict = ("DeadlineExceeded", "too long")
        found = status(pod(), observed(run(state="exited", code=0)), verdict=verdict, terminated=True)
        assert (found["phase"], found["reason"], found["message"]) == ("Failed", *verdict)


class TestConditions:
    def test_the_time_of_a_condition_is_that_of_its_last_change(self):
        known = status(pod(), observed(run()), now=10.0)
        same = status(pod(status=known), observed(run()), now=20.0)
        assert same == known
        other = status(pod(status=known), observed(run(state="exited", code=1)), now=20.0)
        times = {c["type"]: c["lastTransitionTime"] for c in other["conditions"]}
        assert times["Ready"] == timestamp(20)
        assert times["PodReadyToStartContainers"] == timestamp(10)

    def test_foreign_conditions_stay(self):
        known = {"conditions": [{"type": "PodScheduled", "status": "True"}]}
        assert conditions(status(pod(status=known), observed(run())))["PodScheduled"] == "True"

    def test_a_readiness_gate_that_is_not_open_keeps_the_pod_unready(self):
        spec = {"readinessGates": [{"conditionType": "x/open"}]}
        closed = status(pod(**spec), observed(run()))
        assert (conditions(closed)["Ready"], conditions(closed)["ContainersReady"]) == ("False", "True")
        opened = pod(status={"conditions": [{"type": "x/open", "status": "True"}]}, **spec)
        assert conditions(status(opened, observed(run())))["Ready"] == "True"


@given(
    st.sampled_from(["created", "running", "exited"]),
    st.integers(0, 2),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["Always", "Never"]),
)
def test_a_status_is_a_fixed_point(state, code, attempt, ready, policy):
    """The same sight gives the same status again, at any later time: nothing is written for nothing."""
    spec = pod(restartPolicy=policy)
    seen = observed(run(state=state, code=code, attempt=attempt), sandboxes=[sandbox(ready=ready)])
    first = status(spec, seen, now=10.0)
    assert status({**spec, "status": first}, seen, now=99.0) == first
