"""read -> plan -> apply: the plan against a model of the kernel."""

from ipaddress import ip_address, ip_interface

from hypothesis import given
from hypothesis import strategies as st

from moorings_cni import masquerade, routed, routes, vxlan
from moorings_cni.routes import State
from moorings_cni.underlay import Underlay
from moorings_core.kernel.rtnetlink import Link
from moorings_core.ports.network import VTEP_MAC, Peer

peers = st.lists(
    st.builds(
        lambda i, j, mac: Peer(f"n{i}", (f"10.0.0.{j}",), (f"10.64.{i}.0/24", f"fd00:{i}::/64"), {VTEP_MAC: mac} if mac else {}),
        st.integers(1, 6), st.integers(1, 6), st.sampled_from(["", "02:00:00:00:00:07"]),
    ),
    max_size=6, unique_by=lambda peer: peer.name,
)  # fmt: skip


KEYS = {
    "route": lambda r: (r.destination, r.metric),
    "neighbour": lambda n: (n.link, n.address),
    "forwarding": lambda f: (f.link, f.mac),
}


def parts(state: State):
    return {"route": state.routes, "neighbour": state.neighbours, "forwarding": state.forwarding}


def named(kind: str, item) -> str:
    """How a request's label names an item."""
    return str({"route": item, "neighbour": getattr(item, "address", 0), "forwarding": getattr(item, "mac", 0)}[kind])


def apply(state: State, requests, desired: State) -> State:
    """What the kernel makes of the requests, found by their labels."""
    tables = {kind: {KEYS[kind](item): item for item in items} for kind, items in parts(state).items()}
    for request in requests:
        verb, kind, name = request.label.split(" ", 2)
        for item in parts(desired if verb == "put" else state)[kind]:
            if named(kind, item) == name and verb == "put":
                tables[kind][KEYS[kind](item)] = item
            elif named(kind, item) == name:
                tables[kind].pop(KEYS[kind](item), None)
    return State(*(tuple(tables[kind].values()) for kind in ("route", "neighbour", "forwarding")))


def same(one: State, other: State) -> bool:
    def bag(state: State):
        return {routes.identity(r) for r in state.routes}, set(state.neighbours), {(f.link, f.mac) for f in state.forwarding}

    return bag(one) == bag(other)


@given(peers, peers)
def test_vxlan_plan_leads_there_and_then_does_nothing(before, after):
    actual = vxlan.desired_state(7, ("10.0.0.9",), before)
    desired = vxlan.desired_state(7, ("10.0.0.9",), after)
    assert routes.plan(desired, desired) == []
    assert same(apply(actual, routes.plan(desired, actual), desired), desired)


@given(peers, peers)
def test_taking_routes_over_leaves_no_gap(before, after):
    under = Underlay(Link(2, "eth0"), (ip_interface("10.0.0.9/24"), ip_interface("fd77::9/64")), ("10.0.0.9",))
    mine, problems = routed.desired_state(under, after)
    assert all("no address of the family" in words for words in problems) and len(problems) == len(after)
    theirs = vxlan.desired_state(7, ("10.0.0.9",), before)
    requests = routes.plan(State(mine.routes), State(theirs.routes))
    kept = {r.destination for r in mine.routes} & {r.destination for r in theirs.routes}
    assert not [r for r in requests if r.label.startswith("delete") and any(str(d) in r.label for d in kept)]


def test_a_peer_that_is_not_on_the_link_is_named():
    under = Underlay(Link(2, "eth0"), (ip_interface("10.0.0.9/24"),), ("10.0.0.9",))
    state, problems = routed.desired_state(under, [Peer("far", ("10.1.0.1",), ("10.64.1.0/24",))])
    assert state == State() and "node far (10.1.0.1) is not on the link of eth0 (10.0.0.0/24)" in problems[0]


def test_the_tunnel_end_is_known_without_asking():
    a, b = (vxlan.vtep_mac(Peer(name, (), ())) for name in "ab")
    assert a != b and int(a[:2], 16) & 3 == 2, "locally administered, unicast"
    assert vxlan.vtep_mac(Peer("a", (), (), {"moorings.dev/vtep-mac": "02:AA:00:00:00:01"})) == "02:aa:00:00:00:01"
    six = vxlan.desired_state(7, ("fd77::1",), [Peer("b", ("10.0.0.2", "fd77::2"), ("fd00:2::/64",))])
    assert six.forwarding[0].destination == ip_address("fd77::2")


def test_zones_in_the_rules():
    text = masquerade.text(masquerade.zones_of(["10.64.1.0/24"], ["10.64.0.0/16"], ["10.0.0.1", "fd77::1"]))
    assert "set inside4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.0.0.1, 10.64.0.0/16, 10.64.1.0/24 }" in text
    assert "elements = { fd77::1 }" in text and "set own6 { type ipv6_addr; flags interval; auto-merge;  }" in text
