"""Requests that resize pods, and that add containers to look into them: what may change, and what the answer says when more does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import CONTAINER, JSON, MERGE, STRATEGIC, Case, obj, path
from .peers import Request

PODS = path("v1", "pods")
ONE, GUARANTEED, WHOLE, BARE = (path("v1", "pods", name) for name in ("resize", "guaranteed", "whole", "bare"))
AMOUNTS = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}
EQUAL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}}
RESTARTS = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
INITIAL = [
    {"name": "sidecar", "image": "example.org/side", "restartPolicy": "Always", "resources": AMOUNTS},
    {"name": "first", "image": "example.org/first", "resources": AMOUNTS},
]


def resize() -> Iterator[Case]:
    """Yield all cases, in order."""
    yield "resize: the account", [Request("POST", path("v1", "serviceaccounts"), obj("v1", "ServiceAccount", "default"))]
    yield "resize: the pods", [Request("POST", PODS, pod) for pod in _pods()]
    yield "resize: equal values", [_main({"requests": {"cpu": "0.1"}}), Request("GET", ONE)]
    for name, resources in CHANGES.items():
        yield f"resize: {name}", [_main(resources), Request("GET", ONE)]
    for name, (target, spec) in PATCHES.items():
        yield f"resize: {name}", [Request("PATCH", f"{target}/resize", {"spec": spec}, STRATEGIC), Request("GET", target)]
    for name, replaced in REPLACED.items():
        yield f"resize: {name}", [Request("PATCH", f"{ONE}/resize", replaced, MERGE)]
    labels = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}
    yield "resize: only metadata", [Request("PATCH", f"{ONE}/resize", labels, MERGE), Request("GET", ONE)]
    yield from _unable()
    yield from _ephemeral()


def _pods() -> list[dict[str, Any]]:
    return [
        obj("v1", "Pod", "resize", spec={"containers": [{**CONTAINER, "resources": AMOUNTS}], "initContainers": INITIAL}),
        obj("v1", "Pod", "guaranteed", spec={"containers": [{**CONTAINER, "resources": EQUAL}]}),
        obj("v1", "Pod", "whole", spec={"containers": [CONTAINER], "resources": AMOUNTS}),
        obj("v1", "Pod", "bare", spec={"containers": [{**CONTAINER, "resizePolicy": RESTARTS}]}),
        obj("v1", "Pod", "zero", spec={"containers": [{**CONTAINER, "resources": {"requests": {"cpu": "0"}}}]}),
        obj("v1", "Pod", "twice", spec={"containers": [{**CONTAINER, "resizePolicy": RESTARTS * 2}]}),
        obj("v1", "Pod", "words", spec={"containers": [{**CONTAINER, "resizePolicy": [{"resourceName": "a", "restartPolicy": "b"}]}]}),
        obj("v1", "Pod", "never", spec={"restartPolicy": "Never", "containers": [{**CONTAINER, "resizePolicy": RESTARTS}]}),
        obj("v1", "Pod", "early", spec={"containers": [CONTAINER], "initContainers": [{**INITIAL[1], "resizePolicy": RESTARTS}]}),
    ]


def _main(resources: dict[str, Any]) -> Request:
    return Request("PATCH", f"{ONE}/resize", {"spec": {"containers": [{"name": "main", "resources": resources}]}}, STRATEGIC)


CHANGES: dict[str, dict[str, Any]] = {
    "more": {"requests": {"cpu": "150m"}, "limits": {"memory": "256Mi"}},
    "requests above limits": {"requests": {"cpu": "5"}},
    "negative": {"requests": {"cpu": "-1"}},
    "a request removed": {"requests": {"cpu": None}},
    "a limit removed": {"limits": {"memory": None}},
    "disk": {"requests": {"ephemeral-storage": "1Gi"}},
    "claims": {"claims": [{"name": "a"}]},
}
PATCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "a sidecar": (ONE, {"initContainers": [{"name": "sidecar", "resources": {"requests": {"cpu": "120m"}}}]}),
    "an init container": (ONE, {"initContainers": [{"name": "first", "resources": {"requests": {"cpu": "120m"}}}]}),
    "an image beside it": (ONE, {"containers": [{"name": "main", "image": "other", "resources": {"requests": {"cpu": "130m"}}}]}),
    "a policy": (ONE, {"containers": [{"name": "main", "resizePolicy": RESTARTS}]}),
    "a toleration": (ONE, {"tolerations": [{"operator": "Exists"}]}),
    "one more container": (ONE, {"containers": [{"name": "more", "image": "x"}]}),
    "another class of service": (GUARANTEED, {"containers": [{"name": "main", "resources": {"requests": {"cpu": "50m"}}}]}),
    "guaranteed": (
        GUARANTEED,
        {"containers": [{"name": "main", "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "50m"}}}]},
    ),
    "of nothing": (BARE, {"containers": [{"name": "main", "resources": {"requests": {"cpu": "50m"}}}]}),
    "of the whole pod": (WHOLE, {"resources": {"requests": {"cpu": "150m"}}}),
    "of the whole pod, huge pages": (WHOLE, {"resources": {"requests": {"hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "2Mi"}}}),
    "a whole pod's request removed": (WHOLE, {"resources": {"requests": {"cpu": None}}}),
    "a container of a whole pod": (WHOLE, {"containers": [{"name": "main", "resources": {"requests": {"cpu": "10m"}}}]}),
}
REPLACED: dict[str, dict[str, Any]] = {
    "renamed": {"spec": {"containers": [{**CONTAINER, "name": "other", "resources": AMOUNTS}]}},
    "no init containers": {"spec": {"initContainers": None}},
    "reordered": {"spec": {"initContainers": INITIAL[::-1]}},
}


def _unable() -> Iterator[Case]:
    state = {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "lastState": {}}
    running = {"name": "main", "image": "x", "imageID": "", "ready": True, "restartCount": 0, **state}
    status = {"status": {"phase": "Running", "containerStatuses": [running]}}
    yield "resize: on a node that cannot", [Request("PATCH", f"{ONE}/status", status, MERGE), _main({"requests": {"cpu": "111m"}})]
    able = {"status": {"containerStatuses": [{**running, "resources": AMOUNTS, "allocatedResources": AMOUNTS["requests"]}]}}
    yield "resize: on a node that can", [Request("PATCH", f"{ONE}/status", able, MERGE), _main({"requests": {"cpu": "111m"}})]
    yield "resize: by the main path", [Request("PATCH", ONE, {"spec": {"containers": [{"name": "main", "resources": EQUAL}]}}, STRATEGIC)]


def _ephemeral() -> Iterator[Case]:
    where, look = f"{ONE}/ephemeralcontainers", {"name": "look", "image": "example.org/look"}
    added = {"spec": {"ephemeralContainers": [look], "tolerations": [{"operator": "Exists"}]}, "metadata": {"labels": {"x": "y"}}}
    yield "ephemeral: added beside other changes", [Request("PATCH", where, added, STRATEGIC), Request("GET", ONE)]
    target = [{**look, "name": "second", "targetContainerName": "main"}]
    yield "ephemeral: a second", [Request("PATCH", where, {"spec": {"ephemeralContainers": target}}, STRATEGIC)]
    yield "ephemeral: removed", [Request("PATCH", where, [{"op": "remove", "path": "/spec/ephemeralContainers/0"}], JSON)]
    changed = [{"op": "replace", "path": "/spec/ephemeralContainers/0/image", "value": "other"}]
    yield "ephemeral: changed", [Request("PATCH", where, changed, JSON)]
