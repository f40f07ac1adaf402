"""Who has to leave which node: by hand, in upstream's order, and against a dumb search with a dumb filter."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorings_core.ports.objects import Key
from moorings_core.scheduler.columns import PlacedPod
from moorings_core.scheduler.decide import NO_VICTIMS
from moorings_core.scheduler.footprint import footprint
from moorings_core.scheduler.preemption import is_preempted
from moorings_core.scheduler.volumes import IN_USE

from .objects import World, node, pod
from .test_exact import Dumb, make_node, make_pod, nodes, wishes


def names(plan):
    return plan.node, sorted(victim.key.name for victim in plan.victims)


def budget(allowed, *, disrupted=(), **labels):
    status = {"disruptionsAllowed": allowed, "disruptedPods": dict.fromkeys(disrupted, "2026-01-01T00:00:00Z")}
    return {"metadata": {"name": "b", "namespace": "d"}, "spec": {"selector": {"matchLabels": labels}}, "status": status}


def with_port(name, number, **spec):
    made = pod(name, **spec)
    made["spec"]["containers"][0]["ports"] = [{"containerPort": 1, "hostPort": number}]
    return made


def test_the_least_important_leave_and_no_more_of_them_than_must():
    world = World(node("a", cpu="4"))
    for name, cpu, priority in (("low", "1", 1), ("lower", "2", 0), ("mid", "1", 5)):
        world.put(pod(name, cpu=cpu, priority=priority), "a")
    assert names(world.plan(pod(cpu="1", priority=9))) == ("a", ["lower"])
    assert names(world.plan(pod(cpu="3", priority=9))) == ("a", ["low", "lower"])
    assert names(world.plan(pod(cpu="4", priority=9))) == ("a", ["low", "lower", "mid"])
    said = world.plan(pod(cpu="4", priority=9)).said
    assert said == "found a potential placement for pod on node a, preempting 3 victims"


def test_of_equals_those_that_run_longest_stay():
    world = World(node("a", cpu="2"))
    for name in ("old", "new"):
        world.put(pod(name, cpu="1"), "a")
    starts = {"old": "2026-01-01T00:00:00Z", "new": "2026-01-02T00:00:00Z"}
    assert names(world.plan(pod(cpu="1", priority=9), starts=starts)) == ("a", ["new"])


def test_pods_of_the_same_priority_never_leave_for_each_other_nor_for_one_that_never_preempts():
    world = World(node("a", cpu="2"), node("b", cpu="2"))
    world.put(pod("equal", cpu="2", priority=9), "a")
    world.put(pod("low", cpu="1"), "b")
    world.put(pod("other", cpu="1", priority=9), "b")
    plan = world.plan(pod(cpu="2", priority=9))
    assert not plan.node
    assert plan.said == f"0/2 nodes are available: 1 Insufficient cpu, 1 {NO_VICTIMS}."
    polite = world.decide(pod(cpu="2", priority=9, preemptionPolicy="Never"))
    assert polite.message().endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_nodes_that_will_not_do_are_told_by_what_is_wrong_with_them():
    world = World(node("room"), node("ports"), node("equals"), node("small", cpu="1"), node("cordoned", cordoned=True))
    for name in ("room", "ports", "small", "cordoned"):
        world.put(pod(f"low-{name}", cpu="1"), name)
    world.put(pod("big", cpu="3", priority=9), "room")
    world.put(with_port("holder", 80, priority=9), "ports")
    world.put(pod("equal", cpu="4", priority=5), "equals")
    plan = world.plan(with_port("wanting", 80, cpu="2", priority=5))
    assert plan.said == (
        "0/5 nodes are available: 1 Insufficient cpu, 1 No preemption victims found for incoming pod, "
        "1 node(s) didn't have free ports for the requested pod ports, 2 Preemption is not helpful for scheduling."
    )
    assert not plan.node


@pytest.mark.parametrize(
    ("on_a", "on_b", "chosen"),
    [
        ({"x": 5}, {"y": 3}, "b"),  # the lowest of the highest
        ({"x": 5, "y": 1}, {"z": 5, "w": 4}, "a"),  # the smallest sum
        ({"x": 5}, {"y": 5, "z": -2}, "a"),  # negative ones cost, too
        ({"x": -5, "y": -5}, {"z": -5}, "b"),
    ],
)
def test_the_node_that_costs_least_is_cleared(on_a, on_b, chosen):
    world = World(node("a", cpu="2"), node("b", cpu="2"))
    for where, pods in (("a", on_a), ("b", on_b)):
        for name, priority in pods.items():
            world.put(pod(f"{where}-{name}", cpu=str(2 / len(pods)), priority=priority), where)
    assert world.plan(pod(cpu="2", priority=9)).node == chosen


def test_of_nodes_that_cost_the_same_the_one_whose_victim_began_last_is_cleared():
    world = World(*(node(name, cpu="1") for name in "abc"))
    for name in "abc":
        world.put(pod(f"on-{name}", cpu="1"), name)
    starts = {"on-a": "2026-01-01T00:00:00Z", "on-b": "2026-01-03T00:00:00Z", "on-c": "2026-01-02T00:00:00Z"}
    assert names(world.plan(pod(cpu="1", priority=9), starts=starts)) == ("b", ["on-b"])


def test_budgets_are_kept_where_another_node_or_another_pod_will_do():
    world = World(node("a", cpu="2"), node("b", cpu="2"))
    world.put(pod("kept", cpu="1", labels={"app": "x"}, priority=-5), "a")
    world.put(pod("loose", cpu="1"), "a")
    world.put(pod("mid", cpu="2", priority=5), "b")
    assert names(world.plan(pod(cpu="1", priority=9), budgets=[budget(0, app="x")])) == ("a", ["loose"])
    assert names(world.plan(pod(cpu="2", priority=9), budgets=[budget(0, app="x")])) == ("b", ["mid"]), "though its priority is higher"
    assert names(world.plan(pod(cpu="2", priority=9), budgets=[budget(1, app="x")])) == ("a", ["kept", "loose"])
    assert names(world.plan(pod(cpu="2", priority=9), budgets=[budget(0, disrupted=["kept"], app="x")])) == ("a", ["kept", "loose"])
    assert names(world.plan(pod(cpu="2", priority=9), budgets=[budget(0)])) == ("a", ["kept", "loose"]), "one without selector is of none"


def test_a_budget_that_no_node_can_keep_is_broken():
    world = World(node("a", cpu="1"))
    world.put(pod("kept", cpu="1", labels={"app": "x"}), "a")
    assert names(world.plan(pod(cpu="1", priority=9), budgets=[budget(0, app="x")])) == ("a", ["kept"])


def test_a_host_port_is_left_by_who_holds_it():
    world = World(node("a"))
    world.put(with_port("holder", 80, priority=3), "a")
    world.put(pod("idle"), "a")
    assert names(world.plan(with_port("wanting", 80, priority=9))) == ("a", ["holder"])


def test_a_hard_spread_makes_as_many_leave_as_keep_it():
    """As upstream's own spec has it: for the room alone, one would be enough."""
    world = World(*(node(name, cpu="10", labels={"zone": name}) for name in "ab"))
    world.put(pod("high", cpu="9", labels={"app": "x"}, priority=9), "a")
    for index in range(3):
        world.put(pod(f"low{index}", cpu="3", labels={"app": "x"}), "b")
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "x"}}}
    wanting = pod(cpu="3", labels={"app": "x"}, priority=5, topologySpreadConstraints=[constraint])
    plan = world.plan(wanting)
    assert (plan.node, len(plan.victims)) == ("b", 2)


def test_a_claim_for_one_pod_is_left_by_its_user_and_nobody_else_leaves():
    world = World(node("a"), node("b"))
    world.put(pod("user", cpu="1"), "a")
    world.put(pod("idle", cpu="1", priority=-1), "b")
    user = Key("d", "user")
    wanting = pod("wanting", cpu="1", priority=9)

    def volumes(position, leaving):
        return "" if user in leaving else IN_USE

    search = world.search(wanting, volumes=volumes)
    assert [victim.key for victim in search.victims(world.columns.index["a"]).pods] == [user]
    assert search.victims(world.columns.index["b"]) == IN_USE


def test_nominated_pods_take_room_and_are_nobody_s_victims():
    world = World(node("a", cpu="2"), node("b", cpu="2"))
    world.put(pod("coming", cpu="2", priority=5), "a", nominated=True)
    assert world.decide(pod(cpu="1")).node == "b"
    world.put(pod("there", cpu="2", priority=5), "b")
    assert names(world.plan(pod("second", cpu="2", priority=9))) == ("b", ["there"])
    world.columns.take_away(Key("d", "coming"))
    assert world.decide(pod(cpu="1")).node == "a"


def test_who_is_being_preempted_is_told_by_its_condition():
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"conditions": [condition]}}
    assert is_preempted(going)
    assert not is_preempted({**going, "metadata": {}})
    assert not is_preempted({**going, "status": {"conditions": [{**condition, "reason": "EvictionByEvictionAPI"}]}})
    assert not is_preempted({**going, "status": {}})


class DumbSearch:
    """Upstream's procedure word for word, with the dumb filter."""

    def __init__(self, dumb, placed):
        self.dumb, self.placed = dumb, placed

    def victims(self, name, wish):
        """The names of who leaves a node, or None where it does not help."""
        here = sorted(self.placed[name], key=lambda p: -p["spec"]["priority"])
        lower = [p for p in here if p["spec"]["priority"] < wish["spec"]["priority"]]
        pods = copy.deepcopy(self.dumb.pods)
        self.dumb.pods[name] = [p for p in here if p not in lower]
        try:
            if not lower or name not in self.dumb.feasible(wish):
                return None
            leaving = []
            for each in lower:
                self.dumb.pods[name].append(each)
                if name not in self.dumb.feasible(wish):
                    self.dumb.pods[name].remove(each)
                    leaving.append(each)
            return leaving
        finally:
            self.dumb.pods = pods


@settings(max_examples=200, deadline=None)
@given(drawn_nodes=nodes, drawn_pods=st.lists(st.tuples(wishes, st.integers(0, 3)), max_size=14), last=wishes)
def test_the_plan_equals_the_dumb_one(drawn_nodes, drawn_pods, last):
    made = [make_node(i, d) for i, d in enumerate(drawn_nodes)]
    world, dumb = World(*made), Dumb(made)
    placed = {n["metadata"]["name"]: [] for n in made}
    for index, (drawn, priority) in enumerate(drawn_pods):
        each = make_pod(index, drawn)
        each["spec"]["priority"] = priority
        where = world.decide(each).node
        if where:
            world.put(each, where)
            dumb.pods[where].append(each)
            placed[where].append(each)
    wish = make_pod(99, last)
    wish["spec"]["priority"] = 2
    decision = world.decide(wish)
    if decision.node:
        return
    search, dumb_search = world.search(wish), DumbSearch(dumb, placed)
    expected = {}
    for name, position in world.columns.index.items():
        leaving = dumb_search.victims(name, wish)
        if leaving:
            assert position in decision.resolvable, name
            found = search.victims(position)
            expected[name] = leaving
            assert not isinstance(found, str), (name, found)
            assert [v.priority for v in found.pods] == [p["spec"]["priority"] for p in leaving]
    plan = world.plan(wish)
    assert bool(plan.node) == bool(expected), plan.said
    if plan.node:

        def cost(leaving):
            priorities = [p["spec"]["priority"] for p in leaving]
            return max(priorities), sum(p + 2**31 for p in priorities), len(priorities)

        assert cost(expected[plan.node]) == min(map(cost, expected.values()))


def test_what_lower_pods_take_is_kept_right_through_all_changes():
    world = World(node("a"), node("b"))
    columns = world.columns
    assert not columns.requested_below(10).any()
    world.put(pod("low", cpu="1"), "a")
    world.put(pod("high", cpu="1", priority=20), "a")
    cpu = columns.resource("cpu")
    assert columns.requested_below(10)[cpu].tolist()[:2] == [1000, 0]
    columns.resource("example.com/gpu")
    for index in range(columns.capacity):
        columns.set_node(node(f"more{index}"))
    assert columns.requested_below(10)[cpu].sum() == 1000
    assert columns.requested_below(21)[cpu].sum() == 2000
    columns.place(PlacedPod(Key("d", "x"), "b", footprint(pod("x", cpu="3")), {}, False, 0, (), True))
    assert columns.requested_below(10)[cpu].sum() == 1000, "a nominated one is not there"
    columns.remove_node("a")
    assert not columns.requested_below(10)[cpu].any()
    columns.set_node(node("a"))
    assert columns.requested_below(10)[cpu].sum() == 1000
    columns.take_away(Key("d", "low"))
    assert not columns.requested_below(10)[cpu].any()
