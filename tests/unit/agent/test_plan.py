"""What is done next for a pod: each rule with a case that it decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.agent.observed import Observed
from moorings_core.agent.plan import (
    Backoff,
    CreateSandbox,
    KillContainer,
    Memory,
    ProbeView,
    StartContainer,
    deadline_left,
    finished_phase,
    plan,
)

from .builders import container, observed, pod, run, sandbox, sidecar

BACKOFF = Backoff(10, 300)
PROBE = {"exec": {"command": ["true"]}}


def planned(pod_, seen, probes=None, memory=None, now=0.0):
    return plan(pod_, seen, probes or {}, memory or Memory(), BACKOFF, now)


def operations(*args, **more):
    return list(planned(*args, **more).operations)


def starts(*args, **more):
    return [o.name for o in operations(*args, **more) if isinstance(o, StartContainer)]


def test_a_pod_gets_its_sandbox_first():
    assert operations(pod(), Observed()) == [CreateSandbox(0)]


def test_a_sandbox_that_died_is_followed_by_another_one():
    seen = observed(run(state="exited", code=137), sandboxes=[sandbox(ready=False)])
    assert operations(pod(), seen) == [CreateSandbox(1)]


def test_regular_containers_start_together():
    assert starts(pod(container("a"), container("b")), observed()) == ["a", "b"]


def test_a_container_starts_anew_in_a_new_sandbox_with_the_next_attempt():
    seen = observed(run(state="exited", attempt=4, in_sandbox="s0"), sandboxes=[sandbox("s1", 1), sandbox("s0", ready=False)])
    assert operations(pod(), seen) == [StartContainer("main", 5)]


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        ("Always", 0, ["main"]),
        ("Always", 1, ["main"]),
        ("OnFailure", 0, []),
        ("OnFailure", 1, ["main"]),
        ("Never", 0, []),
        ("Never", 1, []),
    ],
)
@pytest.mark.parametrize("place", ["s0", "gone"])
def test_restart_policies_decide_who_runs_again_also_over_sandboxes(policy, code, expected, place):
    seen = observed(run(state="exited", code=code, in_sandbox=place))
    assert starts(pod(restartPolicy=policy), seen) == expected


RULE = {"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}


@pytest.mark.parametrize(
    ("policy", "own", "code", "expected"),
    [
        ("Always", {"restartPolicy": "Never"}, 1, []),
        ("Always", {"restartPolicy": "OnFailure"}, 0, []),
        ("Never", {"restartPolicy": "OnFailure"}, 1, ["main"]),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": [RULE]}, 7, ["main"]),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": [RULE]}, 8, []),
    ],
)
@pytest.mark.parametrize("place", ["s0", "gone"])
def test_a_containers_own_policy_goes_before_the_pods(policy, own, code, expected, place):
    spec, seen = pod(container("main", **own), restartPolicy=policy), observed(run(state="exited", code=code, in_sandbox=place))
    assert starts(spec, seen) == expected
    assert finished_phase(spec, seen) == ("" if expected else "Failed" if code else "Succeeded")


class TestInitContainers:
    def test_only_the_first_that_is_not_done_starts(self):
        spec = pod(initContainers=[container("i"), container("j")])
        assert starts(spec, observed()) == ["i"]
        assert starts(spec, observed(run("i"))) == []
        assert starts(spec, observed(run("i", "exited"))) == ["j"]
        assert starts(spec, observed(run("i", "exited"), run("j", "exited"))) == ["main"]

    def test_one_that_failed_is_tried_again_unless_the_policy_is_never(self):
        seen = observed(run("i", "exited", 1))
        assert starts(pod(initContainers=[container("i")]), seen) == ["i"]
        assert starts(pod(initContainers=[container("i")], restartPolicy="Never"), seen) == []

    def test_one_that_the_runtime_forgot_does_not_run_again_beside_its_successors(self):
        assert starts(pod(initContainers=[container("i")]), observed(run())) == []

    def test_all_run_again_in_a_new_sandbox(self):
        seen = observed(run("i", "exited"), run("main", "exited"), sandboxes=[sandbox("s1", 1), sandbox("s0", ready=False)])
        assert operations(pod(initContainers=[container("i")]), seen) == [StartContainer("i", 1)]


class TestSidecars:
    def test_the_next_waits_until_a_sidecar_runs_and_not_until_it_ends(self):
        spec = pod(initContainers=[sidecar("s")])
        assert starts(spec, observed()) == ["s"]
        assert starts(spec, observed(run("s"))) == ["main"]

    def test_the_next_waits_for_the_sidecars_startup_probe(self):
        spec = pod(initContainers=[sidecar("s", startupProbe=PROBE)])
        assert starts(spec, observed(run("s")), {"s-0": ProbeView(started=None)}) == []
        assert starts(spec, observed(run("s")), {"s-0": ProbeView(started=True)}) == ["main"]

    def test_one_that_ended_runs_again_whatever_the_pods_policy(self):
        seen = observed(run("s", "exited"), run())
        assert starts(pod(initContainers=[sidecar("s")], restartPolicy="Never"), seen) == ["s"]

    def test_one_that_waits_does_not_hold_up_the_restart_of_others_once_all_had_started(self):
        memory = Memory(failures={"s": 3}, counted={"s": "s-0"}, not_before={"s": 50.0})
        seen = observed(run("s", "exited", 1), run(state="exited", code=1))
        assert starts(pod(initContainers=[sidecar("s")]), seen, memory=memory, now=10) == ["main"]


class TestProbes:
    def test_a_run_that_is_not_alive_is_killed_with_its_probes_own_grace(self):
        spec = pod(container(livenessProbe={"terminationGracePeriodSeconds": 7}))
        [kill] = operations(spec, observed(run()), {"main-0": ProbeView(started=True, alive=False)})
        assert kill == KillContainer("main-0", "main", "Container main failed liveness probe, will be restarted", 7)

    def test_a_run_that_never_started_is_killed_for_its_startup_probe(self):
        [kill] = operations(pod(), observed(run()), {"main-0": ProbeView(started=False, alive=False)})
        assert "failed startup probe" in kill.reason

    def test_a_run_that_is_not_ready_is_left_alone(self):
        assert operations(pod(), observed(run()), {"main-0": ProbeView(started=True, ready=False)}) == []


class TestBackoff:
    def fail(self, memory, attempt, finished, started=None):
        """Let a run end, and return (whether the next starts at once, until when it waits)."""
        ended = run(state="exited", code=1, attempt=attempt, started=finished - 1 if started is None else started, finished=finished)
        result = planned(pod(), observed(ended), memory=memory, now=finished)
        return bool(result.operations), result.after

    def test_the_first_restart_is_immediate_and_the_next_wait_twice_as_long_each_time(self):
        memory = Memory()
        seen = [self.fail(memory, n, n * 1000.0) for n in range(8)]
        assert seen == [(True, None), *((False, d) for d in (10, 20, 40, 80, 160, 300, 300))]

    def test_looking_twice_counts_once(self):
        memory = Memory()
        self.fail(memory, 0, 100.0)
        self.fail(memory, 1, 200.0)
        assert self.fail(memory, 1, 200.0) == (False, 10)

    def test_the_delay_counts_from_the_end_of_the_run(self):
        memory = Memory()
        self.fail(memory, 0, 100.0)
        ended = observed(run(state="exited", code=1, attempt=1, started=199, finished=200))
        assert planned(pod(), ended, memory=memory, now=206).after == 4
        assert starts(pod(), ended, memory=memory, now=210) == ["main"]

    def test_a_run_of_ten_minutes_is_forgiven(self):
        memory = Memory()
        for attempt in range(4):
            self.fail(memory, attempt, attempt * 1000.0)
        assert self.fail(memory, 4, 9000.0, started=8000.0) == (True, None)
        assert self.fail(memory, 5, 9100.0) == (False, 10)


def test_ephemeral_containers_start_once_and_never_again():
    spec = pod(ephemeralContainers=[container("debug")], restartPolicy="Always")
    assert starts(spec, observed(run())) == ["debug"]
    assert starts(spec, observed(run(), run("debug", "exited", 1))) == []


class TestFinished:
    @pytest.mark.parametrize(
        ("policy", "codes", "expected"),
        [
            ("Never", (0, 0), "Succeeded"),
            ("Never", (0, 1), "Failed"),
            ("OnFailure", (0, 0), "Succeeded"),
            ("OnFailure", (0, 1), ""),
            ("Always", (0, 0), ""),
        ],
    )
    def test_ended_containers_finish_a_pod_as_its_policy_says(self, policy, codes, expected):
        seen = observed(run("a", "exited", codes[0]), run("b", "exited", codes[1]))
        assert finished_phase(pod(container("a"), container("b"), restartPolicy=policy), seen) == expected

    def test_one_that_runs_keeps_the_pod_unfinished(self):
        seen = observed(run("a", "exited"), run("b"))
        assert finished_phase(pod(container("a"), container("b"), restartPolicy="Never"), seen) == ""

    def test_a_sidecar_that_runs_does_not(self):
        seen = observed(run(state="exited"), run("s"))
        assert finished_phase(pod(initContainers=[sidecar("s")], restartPolicy="Never"), seen) == "Succeeded"

    def test_a_failed_init_container_fails_a_pod_that_never_restarts(self):
        seen = observed(run("i", "exited", 1))
        assert finished_phase(pod(initContainers=[container("i")], restartPolicy="Never"), seen) == "Failed"
        assert finished_phase(pod(initContainers=[container("i")], restartPolicy="OnFailure"), seen) == ""

    def test_what_ended_in_a_sandbox_that_died_counts(self):
        seen = observed(run(state="exited", in_sandbox="old"), sandboxes=[sandbox("new", 1)])
        assert finished_phase(pod(restartPolicy="Never"), seen) == "Succeeded"


def test_the_deadline_counts_from_the_start_of_the_pod():
    late = pod(activeDeadlineSeconds=5, status={"startTime": "1970-01-01T00:01:40Z"})
    assert deadline_left(late, 101.0) == 4
    assert deadline_left(late, 107.0) == -2
    assert deadline_left(pod(activeDeadlineSeconds=5), 0) is None
    assert deadline_left(pod(status={"startTime": "1970-01-01T00:01:40Z"}), 0) is None


states = st.fixed_dictionaries({name: st.sampled_from(["absent", "running", "done", "failed"]) for name in ("i", "s", "a", "b")})


@given(states, st.sampled_from(["Always", "OnFailure", "Never"]))
def test_applying_a_plan_leads_to_one_that_plans_nothing(start, policy):
    """However a pod was found: starting what is planned, with init containers ending well, comes to rest in a few rounds."""
    spec = pod(container("a"), container("b"), initContainers=[container("i"), sidecar("s")], restartPolicy=policy)
    known = {"running": ("running", 0), "done": ("exited", 0), "failed": ("exited", 1)}
    runs = [run(name, *known[state]) for name, state in start.items() if state != "absent"]
    for _ in range(6):
        todo = operations(spec, observed(*runs))
        if not todo:
            break
        for operation in todo:
            assert isinstance(operation, StartContainer)
            assert operation.attempt == observed(*runs).attempts(operation.name)
            runs.append(run(operation.name, "exited" if operation.name == "i" else "running", attempt=operation.attempt))
    assert operations(spec, observed(*runs)) == []
