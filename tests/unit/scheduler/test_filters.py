"""Where a pod may go, and what the event says when it may go nowhere: upstream's words."""

import pytest

from .objects import World, node, pod

TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
SOFT = {"key": "slow", "effect": "PreferNoSchedule"}
NO_HELP = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
NO_VICTIMS = "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."


def required(key, operator, *values):
    expression = {"key": key, "operator": operator} | ({"values": list(values)} if values else {})
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


@pytest.mark.parametrize(
    ("affinity", "fits"),
    [
        (required("zone", "In", "a", "b"), True),
        (required("zone", "In", "b"), False),
        (required("zone", "NotIn", "b"), True),
        (required("other", "NotIn", "b"), True),
        (required("zone", "Exists"), True),
        (required("zone", "DoesNotExist"), False),
        (required("size", "Gt", "4"), True),
        (required("size", "Gt", "5"), False),
        (required("size", "Lt", "6"), True),
        (required("zone", "Gt", "1"), False),
        ({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}}, False),
        (
            {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]
                    }
                }
            },
            True,
        ),
    ],
)
def test_required_node_affinity(affinity, fits):
    world = World(node("n", labels={"zone": "a", "size": "5"}))
    assert bool(world.decide(pod(affinity=affinity)).node) is fits


@pytest.mark.parametrize(
    ("tolerations", "fits"),
    [
        ([], False),
        ([{"key": "gpu", "operator": "Exists"}], True),
        ([{"operator": "Exists"}], True),
        ([{"key": "gpu", "value": "yes"}], True),
        ([{"key": "gpu", "value": "no"}], False),
        ([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}], False),
        ([{"key": "other", "operator": "Exists"}], False),
    ],
)
def test_taints_and_tolerations(tolerations, fits):
    assert bool(World(node("n", taints=[TAINT])).decide(pod(tolerations=tolerations)).node) is fits


@pytest.mark.parametrize(
    ("nodes", "wish", "message"),
    [
        ([], pod(), "no nodes available to schedule pods"),
        (
            [node("a"), node("b")],
            pod(cpu="5"),
            f"0/2 nodes are available: 2 Insufficient cpu. {NO_HELP}",
        ),
        (
            [node("a"), node("b")],
            pod(cpu="5", memory="1Ti"),
            f"0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory. {NO_HELP}",
        ),
        (
            [node("a", cordoned=True), node("b", taints=[TAINT])],
            pod(),
            f"0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. {NO_HELP}",
        ),
        (
            [node("a"), node("b")],
            pod(nodeSelector={"disk": "fast"}),
            f"0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. {NO_HELP}",
        ),
        (
            [node("a", pods="0"), node("b", pods="0")],
            pod(),
            f"0/2 nodes are available: 2 Too many pods. {NO_VICTIMS}",
        ),
        (
            [node("a"), node("b")],
            pod(cpu="5", preemptionPolicy="Never"),
            "0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
        ),
    ],
)
def test_the_event_tells_why_no_node_fits(nodes, wish, message):
    assert World(*nodes).decide(wish).message() == message


def test_room_taken_by_equals_is_resolvable_in_principle_but_has_no_victims():
    world = World(node("a"), node("b"))
    for name in "ab":
        world.put(pod(f"full-{name}", cpu="4"), name)
    assert world.decide(pod(cpu="1")).message() == f"0/2 nodes are available: 2 Insufficient cpu. {NO_VICTIMS}"


def test_where_lower_pods_could_make_room_the_event_does_not_deny_it():
    world = World(node("a"))
    world.put(pod("low", cpu="4", priority=-1), "a")
    assert world.decide(pod(cpu="1")).message() == "0/1 nodes are available: 1 Insufficient cpu."


@pytest.mark.parametrize(
    ("taken", "wanted", "fits"),
    [
        ((None, "TCP", 80), (None, "TCP", 80), False),
        ((None, "TCP", 80), ("127.0.0.1", "TCP", 80), False),
        (("127.0.0.1", "TCP", 80), ("10.0.0.1", "TCP", 80), True),
        ((None, "TCP", 80), (None, "UDP", 80), True),
        ((None, "TCP", 80), (None, "TCP", 81), True),
    ],
)
def test_host_ports_collide_by_address_protocol_and_number(taken, wanted, fits):
    def with_port(name, port):
        made = pod(name)
        address, protocol, number = port
        entry = {"containerPort": 1, "hostPort": number, "protocol": protocol} | ({"hostIP": address} if address else {})
        made["spec"]["containers"][0]["ports"] = [entry]
        return made

    world = World(node("a"))
    world.put(with_port("first", taken), "a")
    decision = world.decide(with_port("second", wanted))
    assert bool(decision.node) is fits
    assert fits or "node(s) didn't have free ports for the requested pod ports" in decision.message()


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": ["1", "2"]}, 3000),
        ({"containers": ["1"], "initContainers": ["3"]}, 3000),
        ({"containers": ["1"], "initContainers": [("1", "Always")]}, 2000),
        ({"containers": ["1"], "initContainers": [("1", "Always"), "3"]}, 4000),
        ({"containers": ["1"], "initContainers": ["3", ("1", "Always")]}, 3000),
        ({"containers": ["1"], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": ["1"], "resources": {"requests": {"cpu": "5"}}}, 5000),
    ],
)
def test_effective_requests_follow_upstream_s_formula(spec, cpu):
    def container(given):
        request, policy = given if isinstance(given, tuple) else (given, None)
        made = {"resources": {"requests": {"cpu": request}}}
        return made | ({"restartPolicy": policy} if policy else {})

    body = {k: [container(c) for c in v] if k.endswith("ontainers") else v for k, v in spec.items()}
    world = World(node("a", cpu="100"))
    world.put({"metadata": {"name": "x", "labels": {}}, "spec": body}, "a")
    assert world.columns.requested[world.columns.resource("cpu")][0] == cpu


@pytest.mark.parametrize(
    ("nodes", "wish", "expected"),
    [
        ([node("small", cpu="2"), node("big", cpu="16")], pod(cpu="1"), "big"),
        ([node("tainted", taints=[SOFT]), node("clean")], pod(), "clean"),
        (
            [node("a"), node("b", labels={"disk": "fast"})],
            pod(
                affinity={
                    "nodeAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
                        ]
                    }
                }
            ),
            "b",
        ),
    ],
)
def test_scores_prefer(nodes, wish, expected):
    assert World(*nodes).decide(wish).node == expected


def test_a_node_that_comes_back_counts_the_pods_it_had():
    world = World(node("a"))
    world.put(pod("x", cpu="3"), "a")
    world.columns.remove_node("a")
    world.columns.set_node(node("b"))
    assert world.decide(pod(cpu="4")).node == "b"
    world.columns.remove_node("b")
    world.columns.set_node(node("a"))
    assert world.decide(pod(cpu="2")).node == ""


def test_more_nodes_than_the_first_columns_hold():
    world = World(*(node(f"n{i}", cpu="1") for i in range(40)))
    assert {world.place(pod(f"p{i}", cpu="1")) for i in range(40)} == {f"n{i}" for i in range(40)}
    assert world.place(pod("late", cpu="1")) == ""
