"""Topology spread: hard constraints keep the skew, soft ones prefer, the policies say which nodes count."""

import pytest

from .objects import World, node, pod

APP = {"app": "web"}
NOT_SPREAD = "node(s) didn't match pod topology spread constraints"


def constraint(**given):
    base = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": APP}}
    return {**base, **given}


def spread(name="p", labels=APP, **given):
    return pod(name, labels=labels, topologySpreadConstraints=[constraint(**given)])


def zones(*names, **options):
    return [node(f"n{i}", labels={"zone": z} if z else {}, **options) for i, z in enumerate(names)]


def test_skew_of_one_fills_zones_in_turn():
    world = World(*zones("a", "a", "b", "c"))
    placed = [world.place(spread(f"p{i}")) for i in range(6)]
    by_zone = [{"n0": "a", "n1": "a", "n2": "b", "n3": "c"}[p] for p in placed]
    assert {z: by_zone.count(z) for z in "abc"} == {"a": 2, "b": 2, "c": 2}
    assert set(by_zone[:3]) == set("abc")


def test_a_full_zone_blocks_the_others_at_its_count():
    world = World(node("small", cpu="0", labels={"zone": "a"}), node("n1", labels={"zone": "b"}))
    assert world.place(spread("p0")) == "n1"
    decision = world.decide(pod("p1", cpu="1", labels=APP, topologySpreadConstraints=[constraint()]))
    assert decision.node == ""
    assert f"1 Insufficient cpu, 1 {NOT_SPREAD}" in decision.message()


def test_nodes_without_the_label_take_no_such_pod():
    world = World(*zones("a", ""))
    assert world.place(spread("p0")) == "n0"
    assert world.place(spread("p1")) == "n0"
    assert f"1 {NOT_SPREAD} (missing required label)" in World(*zones("")).decide(spread()).message()


@pytest.mark.parametrize(("policy", "fits"), [("Ignore", False), ("Honor", True)])
def test_the_taint_policy_says_whether_a_tainted_zone_counts(policy, fits):
    tainted = node("t", labels={"zone": "t"}, taints=[{"key": "x", "effect": "NoSchedule"}])
    world = World(tainted, node("n", labels={"zone": "n"}))
    assert world.place(spread("p0", nodeTaintsPolicy=policy)) == "n"
    assert bool(world.decide(spread("p1", nodeTaintsPolicy=policy)).node) is fits


@pytest.mark.parametrize(("policy", "fits"), [("Honor", True), ("Ignore", False)])
def test_the_affinity_policy_says_whether_a_zone_out_of_reach_counts(policy, fits):
    world = World(node("f", labels={"zone": "f"}), node("n", labels={"zone": "n", "mine": "yes"}))

    def wish(name):
        made = spread(name, nodeAffinityPolicy=policy)
        made["spec"]["nodeSelector"] = {"mine": "yes"}
        return made

    assert world.place(wish("p0")) == "n"
    assert bool(world.decide(wish("p1")).node) is fits


def test_fewer_domains_than_asked_count_as_an_empty_one():
    world = World(*zones("a", "b"))
    assert [world.place(spread(f"p{i}", minDomains=3)) != "" for i in range(3)] == [True, True, False]


def test_match_label_keys_tell_revisions_apart():
    world = World(*zones("a", "b"))
    old, new = {**APP, "rev": "1"}, {**APP, "rev": "2"}
    for i in range(2):
        world.put(pod(f"old{i}", labels=old), "n0")
    given = {"matchLabelKeys": ["rev"]}
    assert {world.place(spread("q0", new, **given)), world.place(spread("q1", new, **given))} == {"n0", "n1"}


def test_soft_spread_prefers_the_emptier_zone():
    world = World(*zones("a", "b"))
    for i in range(2):
        world.put(pod(f"x{i}", labels=APP), "n0")
    assert world.place(spread(whenUnsatisfiable="ScheduleAnyway")) == "n1"


def test_pods_of_a_controller_spread_over_nodes_without_being_told():
    world = World(*(node(f"n{i}") for i in range(3)))

    def owned(name):
        made = pod(name, labels=APP)
        made["metadata"]["ownerReferences"] = [{"controller": True, "uid": "rs"}]
        return made

    assert {world.place(owned(f"p{i}")) for i in range(3)} == {"n0", "n1", "n2"}
