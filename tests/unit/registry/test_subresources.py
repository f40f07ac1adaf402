"""What the subresources of pods that write may change. The words are upstream's, as `make differential` compares them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from moorings_core.registry.quality import qos_class
from moorings_core.registry.subresources import prepare_update, validate

AMOUNTS = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}


def pod(**changes: Any) -> dict[str, Any]:
    """Return a pod that may be resized."""
    containers = [{"name": "main", "image": "a", "resources": copy.deepcopy(AMOUNTS)}, {"name": "side", "image": "b", "resources": {}}]
    return {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"containers": containers, "nodeName": "n", **changes}, "status": {}}


def resized(change: Any, old: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return a pod after a change through resize, and what is wrong with it."""
    old = old or pod()
    new = copy.deepcopy(old)
    change(new["spec"]["containers"][0], new)
    prepare_update(new, old, "resize")
    return new, [str(error) for error in validate(new, old, "resize")]


def test_resize_changes_resources_and_takes_back_everything_else() -> None:
    def change(container: dict[str, Any], whole: dict[str, Any]) -> None:
        container["resources"]["requests"]["cpu"] = "150m"
        container["image"] = "other"
        whole["spec"]["nodeName"] = "elsewhere"
        whole["metadata"]["labels"] = {"c": "d"}

    new, wrong = resized(change)
    assert not wrong
    assert new["spec"]["containers"][0] == {
        "name": "main", "image": "a", "resources": {"requests": {"cpu": "150m", "memory": "64Mi"}, "limits": AMOUNTS["limits"]},
    }  # fmt: skip
    assert new["spec"]["nodeName"] == "n" and new["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c, _: c["resources"]["requests"].pop("cpu"), "resource requests cannot be removed"),
        (lambda c, _: c["resources"].pop("limits"), "resource limits cannot be removed"),
        (lambda c, _: c["resources"]["requests"].update({"example.org/gpu": "1"}), "only cpu and memory resources are mutable"),
        (lambda c, _: c.update(name="other"), "containers may not be renamed or reordered on resize"),
        (lambda _, p: p["spec"]["containers"].pop(), "containers may not be added or removed on resize"),
    ],
)
def test_what_resize_refuses(change: Any, text: str) -> None:
    _, wrong = resized(change)
    assert any(text in each for each in wrong), wrong


def test_resize_keeps_the_class_of_service() -> None:
    old = pod()
    old["spec"]["containers"] = [{"name": "main", "image": "a", "resources": {"requests": AMOUNTS["limits"], "limits": AMOUNTS["limits"]}}]
    assert qos_class(old) == "Guaranteed"
    _, wrong = resized(lambda c, _: c["resources"].update(requests=AMOUNTS["requests"]), old)
    assert "Pod QOS Class may not change" in wrong[0]


def test_a_node_that_does_not_say_what_containers_have_cannot_resize() -> None:
    old = pod()
    old["status"] = {"containerStatuses": [{"name": "main", "state": {"running": {}}}]}
    _, wrong = resized(lambda c, _: c["resources"]["requests"].update(cpu="150m"), old)
    assert wrong == ["spec: Forbidden: Pod running on node without support for resize"]
    old["status"]["containerStatuses"][0]["resources"] = AMOUNTS
    assert not resized(lambda c, _: c["resources"]["requests"].update(cpu="150m"), old)[1]


def test_ephemeral_containers_are_added_and_never_changed_nor_removed() -> None:
    old = pod(ephemeralContainers=[{"name": "look", "image": "a"}])
    for listed, text in (
        ([], "may not be removed"),
        ([{"name": "look", "image": "b"}], "may not be changed"),
        ([{"name": "look", "image": "a"}, {"name": "more", "image": "b"}], ""),
    ):
        new = pod(ephemeralContainers=listed, nodeName="elsewhere")
        prepare_update(new, old, "ephemeralcontainers")
        wrong = [str(e) for e in validate(new, old, "ephemeralcontainers")]
        assert new["spec"]["nodeName"] == "n" and (text in wrong[0] if text else not wrong)
