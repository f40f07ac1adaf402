"""What ends the wait of pods for their claims."""

from moorings_core.ports.objects import Key
from moorings_core.scheduler.held import Held

ONE, TWO, POD, OTHER = Key("d", "one"), Key("d", "two"), Key("d", "pod"), Key("d", "other")


def claim(node="", bound=False, phase=""):
    annotations = {"volume.kubernetes.io/selected-node": node} if node else {}
    if bound:
        annotations["pv.kubernetes.io/bind-completed"] = "yes"
    status = {"phase": phase or ("Bound" if bound else "Pending")}
    return {"metadata": {"annotations": annotations}, "spec": {"volumeName": "pv"} if bound else {}, "status": status}


def test_a_pod_waits_for_the_last_of_its_claims():
    held = Held()
    held.put(POD, "n", [ONE, TWO])
    held.put(OTHER, "n", [TWO])
    assert held.changed(ONE, claim(), claim("n")) == []
    assert held.changed(ONE, claim("n"), claim("n", bound=True)) == []
    assert held.changed(TWO, claim("n"), claim("n", bound=True, phase="Pending")) == [], "its status says so last"
    assert held.changed(ONE, claim("n", bound=True), claim("n", bound=True)) == []
    assert held.changed(TWO, claim("n"), claim("n", bound=True)) == [POD, OTHER]
    assert held.changed(TWO, claim("n"), claim("n", bound=True)) == [], "once"


def test_a_node_that_is_given_back_ends_the_wait_and_one_that_is_not_chosen_yet_does_not():
    held = Held()
    held.put(POD, "n", [ONE, TWO])
    assert held.changed(ONE, claim(), claim()) == [], "the choice is on its way here"
    assert held.changed(ONE, claim(), claim("n")) == []
    assert held.changed(ONE, claim("n"), claim()) == [POD]
    assert held.changed(TWO, claim("n"), claim("n", bound=True)) == []


def test_a_claim_that_goes_ends_the_wait_and_a_pod_that_goes_waits_for_nothing():
    held = Held()
    held.put(POD, "n", [ONE])
    held.put(OTHER, "n", [ONE])
    held.drop(OTHER)
    held.drop(OTHER)
    assert held.changed(ONE, claim("n"), None) == [POD]


def test_a_pod_that_is_put_again_waits_for_what_was_said_last():
    held = Held()
    held.put(POD, "n", [ONE])
    held.put(POD, "m", [TWO])
    assert held.changed(ONE, claim("n"), None) == []
    assert held.changed(TWO, claim("m"), claim("m", bound=True)) == [POD]
