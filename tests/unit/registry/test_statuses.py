"""Statuses as they are written: what a kind keeps of the one before, and what a Job may say of its run."""

from __future__ import annotations

import pytest

from moorings_core.registry import strategy
from moorings_core.registry.validation import job_status

from .objects import resource

UID = {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}


def written(group, plural, before, after, **spec):
    metadata = {"name": "x", "namespace": "d", **UID}
    old = {"metadata": metadata, "spec": spec, "status": before}
    new = {"metadata": dict(metadata), "spec": spec, "status": after}
    strategy.prepare_update(resource(group, plural), new, old, "status")
    return new["status"]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"qosClass": "Burstable"}, {}, {"qosClass": "Burstable"}),
        ({}, {"podIP": "10.0.0.1"}, {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}),
        ({}, {"podIPs": [{"ip": "10.0.0.1"}]}, {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}),
        ({"resourceClaimStatuses": [{"name": "a"}]}, {}, {"resourceClaimStatuses": [{"name": "a"}]}),
    ],
)
def test_of_a_pods_status_is_kept_what_a_node_leaves_out(before, after, kept):
    assert written("", "pods", before, after) == kept


def test_a_volume_notes_when_its_phase_changed():
    assert "lastPhaseTransitionTime" in written("", "persistentvolumes", {"phase": "Available"}, {"phase": "Bound"})


def test_a_definition_does_not_forget_what_objects_are_stored_in():
    versions = [{"name": "v1", "storage": True, "served": True}]
    status = written("apiextensions.k8s.io", "customresourcedefinitions", {"storedVersions": ["v1"]}, {}, versions=versions)
    assert status["storedVersions"] == ["v1"]


INDEXED = {"completionMode": "Indexed", "completions": 5, "parallelism": 2, "backoffLimitPerIndex": 1}
COMPLETE = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
FAILED = [{"type": kind, "status": "True"} for kind in ("FailureTarget", "Failed")]
TIMES = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z"}


@pytest.mark.parametrize(
    ("spec", "before", "after", "found"),
    [
        (INDEXED, {}, {"completedIndexes": "0,2-4"}, []),
        (INDEXED, {}, {"completedIndexes": "0-2-4"}, ["two parts separated by '-'"]),
        (INDEXED, {}, {"completedIndexes": "2,1"}, ["non-increasing order, previous: 2, current: 1"]),
        (INDEXED, {}, {"completedIndexes": "3-3"}, ["non-increasing order, previous: 3, current: 3"]),
        (INDEXED, {}, {"failedIndexes": "1-9"}, ['too large index: "9"']),
        (INDEXED, {}, {"completedIndexes": "0-2", "failedIndexes": "2-4"}, ["overlap at index: 2"]),
        (INDEXED, {"completedIndexes": "9"}, {"completedIndexes": "9", "active": 1}, []),
        ({}, {"succeeded": 2}, {"succeeded": 1}, ["cannot decrease the succeeded counter"]),
        ({}, {}, {"active": -1}, ["must be greater than or equal to 0"]),
        ({}, {}, {"uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}, ["must not be empty", 'Duplicate value: "a"']),
        ({}, {}, {"conditions": COMPLETE, **TIMES}, []),
        ({}, {}, {"conditions": COMPLETE, "startTime": TIMES["startTime"]}, ["completionTime is required for Complete jobs"]),
        ({}, {}, {"conditions": COMPLETE[1:], **TIMES}, ["without the SuccessCriteriaMet=true condition"]),
        ({}, {}, {"conditions": FAILED, "startTime": TIMES["startTime"]}, []),
        ({}, {}, {"conditions": FAILED}, ["startTime is required for finished job"]),
        ({}, {}, {"conditions": FAILED[1:], "startTime": TIMES["startTime"]}, ["without the FailureTarget=true condition"]),
        (
            {},
            {},
            {"conditions": FAILED, "startTime": TIMES["startTime"], "active": 1, "terminating": 1},
            ["active>0 is invalid", "terminating>0 is invalid"],
        ),
        (
            {},
            {"conditions": COMPLETE, **TIMES},
            {"startTime": TIMES["startTime"]},
            ["cannot disable the terminal Complete=True condition", "cannot disable the SuccessCriteriaMet=True condition"],
        ),
        ({}, {"startTime": TIMES["startTime"]}, {}, ["immutable for unsuspended job"]),
        ({"suspend": True}, {"startTime": TIMES["startTime"]}, {}, []),
        (
            {},
            {"conditions": COMPLETE, **TIMES},
            {"conditions": COMPLETE, **TIMES, "completionTime": "2025-01-01T00:00:00Z"},
            ["must be equal to or after `startTime`", "field is immutable"],
        ),
        (
            {},
            {},
            {"conditions": [*COMPLETE, *FAILED], **TIMES},
            [
                "cannot set Complete=True and Failed=true conditions",
                "cannot set Complete=True and FailureTarget=true conditions",
                "cannot set SuccessCriteriaMet=True and Failed=true conditions",
                "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
            ],
        ),
    ],
)
def test_what_a_job_says_of_its_run_fits_together(spec, before, after, found):
    old, new = ({"metadata": {}, "spec": spec, "status": status} for status in (before, after))
    told = [str(error) for error in job_status.check_status(new, old)]
    assert len(told) == len(found), told
    assert all(words in text for words, text in zip(found, told, strict=True)), told


@pytest.mark.parametrize(
    ("group", "plural", "may"),
    [
        ("", "configmaps", True),
        ("apps", "deployments", True),
        ("policy", "poddisruptionbudgets", False),
        ("storage.k8s.io", "csinodes", False),
    ],
)
def test_some_kinds_are_replaced_only_by_who_knows_their_version(group, plural, may):
    assert strategy.allows_unconditional_update(resource(group, plural)) is may
