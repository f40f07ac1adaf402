"""What a pod takes of its node."""

from moorings_core.scheduler.footprint import footprint, granted

SMALL, GREAT = {"cpu": "100m", "memory": "64Mi"}, {"cpu": "300m", "memory": "32Mi"}


def pod(requests, allocated=None):
    """Return a pod whose container asks for something and was granted something."""
    status = {"containerStatuses": [{"name": "main", "allocatedResources": allocated}]} if allocated else {}
    return {"spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]}, "status": status}


def test_while_it_is_resized_a_pod_takes_the_greater_of_what_it_asks_for_and_holds():
    taken = footprint(pod(GREAT, SMALL)).requests
    assert (taken["cpu"], taken["memory"]) == (300, 64 << 20)


def test_only_what_is_being_resized_is_held():
    assert granted(pod(GREAT, SMALL)) == {"main": SMALL}
    assert granted(pod(SMALL, SMALL)) == granted(pod(SMALL)) == {}


def test_a_pod_that_holds_what_it_asks_for_takes_that():
    assert footprint(pod(SMALL, SMALL)) == footprint(pod(SMALL))
