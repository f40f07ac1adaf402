"""The vector decision against a dumb one that looks at one node after the other."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from moorings_core.ports.objects import Key
from moorings_core.scheduler.decide import scores
from moorings_core.scheduler.filters import reason_against
from moorings_core.scheduler.pod_class import classify
from moorings_core.scheduler.spread import Eligibility

from .objects import World, node, pod

ZONES = ["a", "b", ""]
TAINTS = [{"key": "t", "effect": e} for e in ("NoSchedule", "PreferNoSchedule")]
nodes = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(ZONES), st.lists(st.sampled_from(TAINTS), max_size=1), st.booleans()),
    min_size=1,
    max_size=8,
)
wishes = st.tuples(
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from(["", "hard", "soft"]),
    st.booleans(),
)


def make_node(index, drawn):
    cpu, memory, zone, taints, cordoned = drawn
    labels = {"zone": zone} if zone else {}
    return node(f"n{index}", cpu=str(cpu), memory=f"{memory}Gi", pods="4", labels=labels, taints=taints, cordoned=cordoned)


def make_pod(index, drawn):
    cpu, memory, tolerant, spread, selective = drawn
    spec = {"tolerations": [{"operator": "Exists"}]} if tolerant else {}
    if spread:
        when = "DoNotSchedule" if spread == "hard" else "ScheduleAnyway"
        selector = {"matchLabels": {"app": "x"}}
        spec["topologySpreadConstraints"] = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when, "labelSelector": selector}]
    if selective:
        spec["nodeSelector"] = {"zone": "a"}
    return pod(f"p{index}", cpu=str(cpu), memory=f"{memory}Gi", labels={"app": "x"}, **spec)


class Dumb:
    """One node after the other, with Python's integers."""

    def __init__(self, all_nodes):
        self.nodes, self.pods = all_nodes, {n["metadata"]["name"]: [] for n in all_nodes}

    def feasible(self, wish):
        made = classify(wish, Key("d", "x"))
        return {
            n["metadata"]["name"] for n in self.nodes if not reason_against(made, n) and self._room(n, wish) and self._spread(n, wish, made)
        }

    def _room(self, one, wish):
        here = self.pods[one["metadata"]["name"]]
        if len(here) + 1 > int(one["status"]["allocatable"]["pods"]):
            return False
        for name, unit in (("cpu", ""), ("memory", "Gi")):
            have = int(one["status"]["allocatable"][name].removesuffix(unit))
            want = self._asks(wish, name)
            if want and sum(self._asks(p, name) for p in here) + want > have:
                return False
        return True

    @staticmethod
    def _asks(one, name):
        return int(one["spec"]["containers"][0]["resources"]["requests"].get(name, "0").removesuffix("Gi"))

    def _spread(self, one, wish, made):
        hard = [c for c in wish["spec"].get("topologySpreadConstraints", ()) if c["whenUnsatisfiable"] == "DoNotSchedule"]
        if not hard:
            return True
        zone = one["metadata"]["labels"].get("zone")
        if zone is None:
            return False
        counts = Counter()
        for other in self.nodes:
            label = other["metadata"]["labels"].get("zone")
            selected = all(other["metadata"]["labels"].get(k) == v for k, v in made.node_selector.items())
            if label is not None and selected:
                counts[label] += len(self.pods[other["metadata"]["name"]])
        return counts[zone] + 1 - min(counts.values(), default=0) <= 1


@settings(max_examples=150, deadline=None)
@given(drawn_nodes=nodes, drawn_pods=st.lists(wishes, max_size=12))
def test_the_vector_decision_equals_the_scalar_one(drawn_nodes, drawn_pods):
    made = [make_node(i, d) for i, d in enumerate(drawn_nodes)]
    world, dumb = World(*made), Dumb(made)
    for index, drawn in enumerate(drawn_pods):
        wish = make_pod(index, drawn)
        decision, possible = world.decide(wish), dumb.feasible(wish)
        assert bool(decision.node) == bool(possible), decision.message()
        if decision.node:
            assert decision.node in possible
            row = world.rows.of(classify(wish, Key("d", wish["metadata"]["name"])), world.columns)
            mask = np.array([n is not None and n["metadata"]["name"] in possible for n in world.columns.nodes])
            total = scores(world.columns, row, Eligibility(row.affine, row.tolerated), mask)
            assert total[world.columns.index[decision.node]] == max(total[world.columns.index[n]] for n in possible)
            world.put(wish, decision.node)
            dumb.pods[decision.node].append(wish)


@settings(max_examples=60, deadline=None)
@given(drawn_nodes=nodes, order=st.permutations(range(6)))
def test_pods_placed_and_taken_away_leave_no_trace(drawn_nodes, order):
    world = World(*(make_node(i, d) for i, d in enumerate(drawn_nodes)))
    before = world.columns.requested.copy(), world.columns.scored.copy(), world.columns.lowest_priority()
    for i in range(6):
        world.put(make_pod(i, (1, 1, True, "hard", False)), f"n{i % len(drawn_nodes)}")
    for i in order:
        world.columns.take_away(Key("d", f"p{i}"))
    assert (world.columns.requested == before[0]).all()
    assert (world.columns.scored == before[1]).all()
    assert world.columns.lowest_priority() == before[2]
