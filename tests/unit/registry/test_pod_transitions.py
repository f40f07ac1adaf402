"""Containers that have ended for good stay so in a pod's status."""

import pytest

from moorings_core.registry.validation.pod_status import check_status

RUNNING, WAITING = {"running": {}}, {"waiting": {"reason": "x"}}
TAKEN_BACK = "Forbidden: may not be transitioned to non-terminated state"


def ended(code=0):
    return {"terminated": {"exitCode": code}}


def told(policy, before, after, *, kind="container", container=None, others=()):
    name = {"name": "main"}
    fields = {"container": "containers", "init": "initContainers", "ephemeral": "ephemeralContainers"}
    spec = {"restartPolicy": policy, "containers": [*others], fields[kind]: [*others, {**name, **(container or {})}]}
    field = {"container": "containerStatuses", "init": "initContainerStatuses", "ephemeral": "ephemeralContainerStatuses"}[kind]
    old, new = ({"spec": spec, "status": {field: [{"name": "other", "state": RUNNING}, {**name, "state": s}]}} for s in (before, after))
    return [(error.field, error.message) for error in check_status(new, old)]


REFUSED = {
    "container": [("status.containerStatuses[1].state", TAKEN_BACK)],
    "init": [("status.initContainerStatuses[1].state", TAKEN_BACK)],
    "ephemeral": [("status.ephemeralContainerStatuses[1].state", TAKEN_BACK)],
}


@pytest.mark.parametrize("kind", ["container", "init"])
@pytest.mark.parametrize(
    ("policy", "code", "stays"),
    [("Always", 0, False), ("OnFailure", 1, False), ("OnFailure", 0, True), ("Never", 1, True), ("Never", 0, True)],
)
def test_the_pods_policy_decides(kind, policy, code, stays):
    assert told(policy, ended(code), RUNNING, kind=kind) == (REFUSED[kind] if stays else [])


@pytest.mark.parametrize("after", [RUNNING, WAITING, {}])
def test_ephemeral_containers_never_run_again(after):
    assert told("Always", ended(1), after, kind="ephemeral") == REFUSED["ephemeral"]


@pytest.mark.parametrize(("before", "after"), [(ended(1), ended(2)), (RUNNING, WAITING), (WAITING, ended(1)), ({}, RUNNING)])
def test_other_changes_are_free(before, after):
    assert told("Never", before, after) == []


@pytest.mark.parametrize(
    ("container", "code", "stays"),
    [
        ({"restartPolicy": "Always"}, 0, False),
        ({"restartPolicy": "OnFailure"}, 0, True),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]},
            7,
            False,
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]},
            8,
            True,
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [7]}}]},
            8,
            False,
        ),
    ],
)
def test_a_containers_own_policy_goes_before_the_pods(container, code, stays):
    assert told("Never", ended(code), RUNNING, container=container) == (REFUSED["container"] if stays else [])
    if container["restartPolicy"] != "Always":
        assert told("Always", ended(code), RUNNING, container=container) == (REFUSED["container"] if stays else [])


def test_one_container_may_start_all_again():
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [3]}}
    other = {"name": "other", "restartPolicy": "Never", "restartPolicyRules": [rule]}
    assert told("Never", ended(1), RUNNING, others=[other]) == []


def test_a_container_that_the_pod_does_not_have_stays_ended():
    old = {"spec": {"restartPolicy": "Always", "containers": []}, "status": {"containerStatuses": [{"name": "ghost", "state": ended(1)}]}}
    new = {**old, "status": {"containerStatuses": [{"name": "ghost", "state": RUNNING}]}}
    assert [error.message for error in check_status(new, old)] == [TAKEN_BACK]
