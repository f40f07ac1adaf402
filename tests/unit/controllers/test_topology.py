"""Hints: by trafficDistribution, and by the CPUs of zones, of which upstream's own cases are the figures here."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorings_core.client.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from moorings_core.controllers import topology
from moorings_core.controllers.endpointslice import EndpointSliceController
from moorings_core.controllers.topology import Piece, Unfit, allocations, automatic, shares

from .simulator import Api, World

AUTO = {topology.MODE: "Auto"}


def node(name, zone="a", cpu="1", ready="True", **labels):
    return {
        "metadata": {"name": name, "labels": ({topology.ZONE: zone} if zone else {}) | labels},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]},
    }


def nodes(**cpus):
    return [node(f"n-{zone}", zone, cpu) for zone, cpu in cpus.items()]


def endpoint(zone, ready=True, hint=""):
    made = {"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "zone": zone}
    return made | ({"hints": {"forZones": [{"name": hint}]}} if hint else {})


def hints(pieces):
    return Counter(e["hints"]["forZones"][0]["name"] for piece in pieces for e in piece.endpoints if "hints" in e)


def test_zones_share_by_the_cpus_of_nodes_that_are_ready():
    found = shares([*nodes(a="1000m", b="3"), node("late", "c", "4", "False"), node("cp", "c", **{topology.EXCLUDED[0]: ""})])
    assert found == {"a": 0.25, "b": 0.75}
    for unfit in ([node("a")], [*nodes(a="1", b="1"), node("x", "")], [*nodes(a="1", b="1"), node("x", "c", "0")], []):
        with pytest.raises(Unfit, match="Insufficient Node information"):
            shares(unfit)


@pytest.mark.parametrize(
    ("cpus", "ready", "least"),
    [
        ({"a": "1", "b": "1"}, 2, {"a": 1, "b": 1}),
        ({"a": "4000m", "b": "4000m", "c": "4000m"}, 6, {"a": 2, "b": 2, "c": 2}),
        ({"a": "1", "b": "1", "c": "2"}, 20, {"a": 5, "b": 5, "c": 9}),
        ({"a": "4", "b": "3", "c": "2", "d": "2"}, 12, {"a": 4, "b": 3, "c": 2, "d": 2}),
    ],
)
def test_what_zones_get(cpus, ready, least):
    found = allocations(shares(nodes(**cpus)), ready)
    spare = ready - sum(least.values())
    assert {z: (each.minimum, each.maximum) for z, each in found.items()} == {z: (few, few + spare) for z, few in least.items()}


@pytest.mark.parametrize(
    ("cpus", "ready", "words"),
    [
        ({"a": "1", "b": "1", "c": "1"}, 2, r"Insufficient number of endpoints \(2 endpoints, 3 zones\)"),
        ({"a": "1", "b": "1", "c": "1"}, 4, r"without exceeding overload threshold \(4 endpoints, 3 zones\)"),
        ({"a": "1", "b": "9"}, 2, "overload threshold"),
    ],
)
def test_there_are_no_hints_where_an_endpoint_would_bear_too_much(cpus, ready, words):
    with pytest.raises(Unfit, match=words):
        allocations(shares(nodes(**cpus)), ready)


def test_zones_with_too_many_endpoints_give_to_those_with_too_few():
    pieces = [Piece([endpoint("a"), endpoint("a"), endpoint("a"), endpoint("b"), endpoint("a", ready=False)]), Piece([endpoint("b")] * 2)]
    pieces[1].endpoints = [dict(e) for e in pieces[1].endpoints]
    automatic(pieces, nodes(a="1", b="1", c="1"))
    assert hints(pieces) == {"a": 2, "b": 2, "c": 2}
    assert "hints" not in pieces[0].endpoints[-1], "it is not ready"


def test_slices_that_do_not_change_keep_their_hints_while_they_fit():
    kept = [endpoint("a", hint="a"), endpoint("a", hint="b")]
    pieces = [Piece(topology.without_hints(kept), kept), Piece([endpoint("b"), endpoint("b")])]
    automatic(pieces, nodes(a="1", b="1"))
    assert pieces[0].endpoints == kept and hints(pieces) == {"a": 2, "b": 2}


@pytest.mark.parametrize("stale", [[endpoint("a", hint="gone")] * 2, [endpoint("a")] * 2, [endpoint("a", hint="a")] * 4])
def test_hints_that_lead_nowhere_lack_or_are_too_many_are_given_anew(stale):
    pieces = [Piece([dict(e) for e in topology.without_hints(stale)], stale), Piece([endpoint("b"), endpoint("a")])]
    automatic(pieces, nodes(a="1", b="1"))
    assert hints(pieces) == {"a": len(stale) // 2 + 1, "b": len(stale) // 2 + 1}


def test_an_endpoint_without_zone_ends_all_hints():
    with pytest.raises(Unfit, match="do not have a zone"):
        automatic([Piece([endpoint("a"), endpoint("")])], nodes(a="1", b="1"))


zones = st.sampled_from("abc")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(zones, max_size=8), min_size=1, max_size=4), st.dictionaries(zones, st.integers(1, 8), min_size=2, max_size=3))
def test_every_ready_endpoint_has_one_hint_zones_have_near_to_their_share_and_it_comes_to_rest(drawn, cpus):
    pieces = [Piece([endpoint(zone) for zone in each]) for each in drawn]
    total = sum(map(len, drawn))
    here = nodes(**{zone: str(cpu) for zone, cpu in cpus.items()})
    try:
        wanted = allocations(shares(here), total)
    except Unfit:
        return
    automatic(pieces, here)
    found = hints(pieces)
    assert sum(found.values()) == total
    if set().union(*map(set, drawn)) <= set(cpus):
        assert all(abs(found[zone] - each.desired) < 1.5 for zone, each in wanted.items()), (found, wanted)
    for _ in range(4):
        before = [p.endpoints for p in pieces]
        pieces = [Piece(topology.without_hints(endpoints), endpoints) for endpoints in before]
        automatic(pieces, here)
    assert [p.endpoints for p in pieces] == before, "it comes to rest"


def test_the_older_annotation_comes_first_and_traffic_distribution_last():
    def asks(**annotations):
        return topology.is_automatic({"metadata": {"annotations": annotations}})

    assert asks(**AUTO) and asks(**{topology.OLDER_MODE: "auto"}) and not asks()
    assert not asks(**{topology.OLDER_MODE: "Disabled", topology.MODE: "Auto"})
    full = {"conditions": {"ready": True}, "zone": "a", "nodeName": "n"}
    zone, both = {"forZones": [{"name": "a"}]}, {"forZones": [{"name": "a"}], "forNodes": [{"name": "n"}]}
    for name, expected in (("PreferClose", zone), ("PreferSameZone", zone), ("PreferSameNode", both), (None, None)):
        assert topology.by_distribution(name, full).get("hints") == expected
    assert "hints" not in topology.by_distribution("PreferClose", full | {"conditions": {"ready": False}})


async def test_a_service_gets_hints_as_nodes_and_pods_come_and_says_why_it_has_none():
    api = Api(0)
    sim = World(api, [EndpointSliceController()])
    for each in nodes(a="1", b="1"):
        api.create(NODES, each)
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    spec = {"selector": {"app": "web"}, "ports": ports, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"]}
    api.create(SERVICES, {"metadata": {"name": "web", "namespace": "d", "annotations": AUTO}, "spec": spec})

    def pod(number, zone):
        api.create(PODS, {
            "metadata": {"name": f"p{number}", "namespace": "d", "labels": {"app": "web"}},
            "spec": {"nodeName": f"n-{zone}", "containers": [{"name": "c", "image": "i"}]},
            "status": {"phase": "Running", "podIPs": [{"ip": f"10.0.0.{number}"}], "conditions": [{"type": "Ready", "status": "True"}]},
        })  # fmt: skip

    def given():
        return Counter(
            (e.get("hints") or {"forZones": [{"name": ""}]})["forZones"][0]["name"]
            for s in api.all(ENDPOINT_SLICES)
            for e in s["endpoints"]
        )

    pod(1, "a")
    await sim.settle()
    assert given() == {"": 1}
    few = "Insufficient number of endpoints (1 endpoints, 2 zones), addressType: IPv4"
    assert ("Warning", "TopologyAwareHintsDisabled", few) in sim.recorder.told
    for number in (2, 3, 4):
        pod(number, "a")
    await sim.settle()
    assert given() == {"a": 2, "b": 2}, "half of the CPUs are in b, and no pod"
    enabled = ("Normal", "TopologyAwareHintsEnabled", f"{topology.ENABLED}, addressType: IPv4")
    assert sim.recorder.told.count(enabled) == 1
    api.create(NODES, node("n-c", "c"))
    await sim.settle()
    assert given() == {"": 4}, "four endpoints in three equal zones are too unequal"
    api.delete(NODES, "n-c", "")
    await sim.settle()
    assert given() == {"a": 2, "b": 2}
    stored = api.read(SERVICES, "web", "d")
    annotations = {topology.MODE: "Disabled"}
    api.update(SERVICES, {**stored, "metadata": {**stored["metadata"], "annotations": annotations}})
    await sim.settle()
    assert given() == {"": 4}
