"""Pools, allocation, election and frames of the metal backend: all pure but the frames, which scapy builds and reads."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_cloud.metal.allocate import assign, is_ours, plan, present
from moorings_cloud.metal.election import DURATION, GIVE_UP, Election, lease_spec
from moorings_cloud.metal.frames import Request, build_frames, parse_request
from moorings_cloud.metal.pools import PoolError, parse_pools
from moorings_core.config.backends import load
from moorings_core.ports.cluster import CloudConfig, ClusterConfig

POOLS = parse_pools(
    {
        "pools": [
            "192.0.2.1-192.0.2.3",
            {"name": "six", "addresses": ["2001:db8::/126"]},
            {"name": "rare", "addresses": ["192.0.2.64/30"], "autoAssign": False},
        ]
    }
)


def service(name: str, *, age: int = 0, addresses: tuple = (), annotations: dict | None = None, **spec) -> dict:
    metadata = {
        "name": name,
        "namespace": "d",
        "uid": name,
        "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
        "resourceVersion": "7",
    }
    metadata["annotations"] = annotations or {}
    status = {"loadBalancer": {"ingress": [{"ip": a} for a in addresses]}}
    return {"metadata": metadata, "spec": {"type": "LoadBalancer", **spec}, "status": status}


def given_out(*services: dict) -> dict:
    return {one.service.name: one.addresses or one.reason for one in assign(present(services), POOLS)}


def test_pools_are_ranges_and_cidrs_without_the_networks_own_addresses() -> None:
    assert list(POOLS[0].addresses("IPv4")) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert list(POOLS[2].addresses("IPv4")) == ["192.0.2.65", "192.0.2.66"]
    assert len(list(POOLS[1].addresses("IPv6"))) == 4
    assert POOLS[0].holds("192.0.2.2") and not POOLS[0].holds("192.0.2.4") and not POOLS[0].holds("2001:db8::1")


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ("10.0.0.0/8", "cloud.parameters.pools: expected a list"),
        (["10.0.0.9-10.0.0.1"], r"pools\[0\]: expected"),
        (["10.0.0.1/24"], r"pools\[0\]: expected .* host bits"),
        ([{"adresses": []}], r"pools\[0\].adresses: unknown field"),
        ([{"name": "x"}], r"pools\[0\].addresses: expected"),
        ([{"addresses": ["10.0.0.0/30", "x"]}], r"pools\[0\].addresses\[1\]: expected"),
        ([7], r"pools\[0\]: expected"),
    ],
)
def test_a_wrong_pool_is_named(pools, message) -> None:
    with pytest.raises(PoolError, match=message):
        parse_pools({"pools": pools})


def test_every_service_has_its_own_address_and_the_last_stays_pending() -> None:
    out = given_out(*(service(f"s{n}", age=n) for n in range(4)))
    assert out == {"s0": ("192.0.2.1",), "s1": ("192.0.2.2",), "s2": ("192.0.2.3",), "s3": "no free IPv4 address in pool-0, six"}


def test_who_has_an_address_keeps_it_and_the_older_of_two_claims_wins() -> None:
    out = given_out(service("new", age=9, addresses=("192.0.2.1",)), service("old", age=1, addresses=("192.0.2.1",)), service("x", age=5))
    assert out == {"old": ("192.0.2.1",), "x": ("192.0.2.2",), "new": ("192.0.2.3",)}


def test_wishes() -> None:
    out = given_out(
        service("spec", loadBalancerIP="192.0.2.3"),
        service("note", age=1, annotations={"moorings.dev/load-balancer-ips": "192.0.2.65"}),
        service("pool", age=2, annotations={"moorings.dev/address-pool": "rare"}),
        service("taken", age=3, loadBalancerIP="192.0.2.3"),
        service("outside", age=4, loadBalancerIP="198.51.100.1"),
        service("rubbish", age=5, loadBalancerIP="x"),
        service("nopool", age=6, annotations={"moorings.dev/address-pool": "nosuch"}),
        service("both", age=7, ipFamilies=["IPv4", "IPv6"]),
    )
    assert out == {
        "spec": ("192.0.2.3",), "note": ("192.0.2.65",), "pool": ("192.0.2.66",), "taken": "192.0.2.3 is in use",
        "outside": "198.51.100.1 is in no address pool", "rubbish": "x is not an IP address", "nopool": "no pool named nosuch",
        "both": ("192.0.2.1", "2001:db8::"),
    }  # fmt: skip


def test_what_is_not_ours_is_left_alone_and_what_no_longer_is_gives_back() -> None:
    other = service("other", addresses=("203.0.113.9",), loadBalancerClass="example.org/lb")
    assert not is_ours(other) and is_ours(service("x", loadBalancerClass="moorings.dev/metal"))
    changed = service("changed", addresses=("192.0.2.1",), type="ClusterIP")
    actual = present([other, changed, service("wish", age=1, loadBalancerIP="192.0.2.1")])
    operations = plan(assign(actual, POOLS), actual)
    assert [(o.verb, o.item.service.name, o.item.addresses) for o in operations] == [
        ("delete", "changed", ()), ("create", "wish", ("192.0.2.1",)),
    ]  # fmt: skip


wishes = st.sampled_from(
    [{}, {"loadBalancerIP": "192.0.2.2"}, {"ipFamilies": ["IPv6"]}, {"type": "ClusterIP"}, {"loadBalancerClass": "x/y"}]
)
had = st.sampled_from([(), ("192.0.2.1",), ("192.0.2.2",), ("203.0.113.1",), ("2001:db8::1",)])


@given(st.lists(st.tuples(st.integers(0, 50), wishes, had), max_size=8))
def test_the_plan_is_done_once_it_is_applied_and_nobody_shares(raw) -> None:
    services = {f"s{i}": service(f"s{i}", age=age, addresses=addresses, **spec) for i, (age, spec, addresses) in enumerate(raw)}
    actual = present(services.values())
    for operation in plan(assign(actual, POOLS), actual):
        ingress = [{"ip": a} for a in operation.item.addresses]
        services[operation.item.service.name]["status"]["loadBalancer"]["ingress"] = ingress
    after = present(services.values())
    assert plan(assign(after, POOLS), after) == []
    held = [a for one in after for a in one.addresses]
    assert len(held) == len(set(held))


def lease(holder: str, version: int) -> dict:
    return {"metadata": {"name": "l", "resourceVersion": str(version)}, "spec": {"holderIdentity": holder}}


def test_two_nodes_never_hold_at_once_whatever_their_clocks() -> None:
    a, b = Election("a", "l"), Election("b", "l")
    a.took(lease("a", 1), asked=1000.0)  # a's clock
    b.observe(lease("a", 1), now=0.1)  # b's: it saw the write 0.1 after a began it
    assert a.holds(1000.0 + GIVE_UP - 0.01) and not a.holds(1000.0 + GIVE_UP)
    assert b.action(True, 0.1 + DURATION - 0.01) == "" and GIVE_UP < DURATION
    assert b.action(True, 0.1 + DURATION + b.delay) == "acquire"
    assert b.action(False, 100.0) == ""


def test_a_renewal_seen_starts_the_count_again_and_an_old_cache_changes_nothing() -> None:
    one = Election("a", "l")
    one.observe(lease("b", 5), 10.0)
    one.observe(lease("b", 5), 12.0)
    assert one.action(True, 10.0 + DURATION + one.delay) == "acquire"
    one.observe(lease("b", 6), 12.5)
    assert one.action(True, 10.0 + DURATION + one.delay) == ""
    one.took(lease("a", 9), 20.0)
    one.observe(lease("b", 6), 20.1)
    one.observe(None, 20.1)
    assert one.holds(20.2) and one.action(True, 20.2) == "" and one.action(True, 21.0) == "renew" and one.action(False, 20.2) == "release"
    one.observe(lease("b", 10), 20.5)
    assert not one.holds(20.5)


def test_a_released_or_absent_lease_is_free_at_once() -> None:
    one = Election("a", "l")
    one.observe(lease("", 3), 5.0)
    assert one.action(True, 5.0 + one.delay) == "acquire"
    two = Election("a", "l")
    two.observe(None, 5.0)
    assert two.action(True, 5.0 + two.delay) == "acquire"
    assert 0 <= one.delay <= 0.3


@given(st.booleans(), st.booleans(), st.floats(0, 10), st.sampled_from([None, lease("", 2), lease("a", 2), lease("b", 2)]))
def test_waiting_always_ends(eligible, writing, now, held) -> None:
    one = Election("a", "l")
    one.observe(held, 1.0)
    assert 0 < one.wait(eligible, now, writing=writing) < 1.01


def test_a_change_of_holder_is_counted() -> None:
    spec = lease_spec("b", {"spec": {"holderIdentity": "a", "leaseTransitions": 3, "acquireTime": "x"}})
    assert (spec["leaseTransitions"], spec["holderIdentity"], spec["leaseDurationSeconds"]) == (4, "b", 3)
    assert lease_spec("b", {"spec": spec | {"acquireTime": "x"}})["acquireTime"] == "x"


async def test_frames_say_what_they_should() -> None:
    from scapy.layers.l2 import ARP, Ether

    frames = await build_frames()
    mac, address = bytes.fromhex("02aabbccddee"), socket.inet_aton("203.0.113.2")  # the address is also a mark
    ops = []
    for frame in frames.announce(mac, address):
        ether = Ether(frame)
        arp = ether[ARP]
        ops.append(arp.op)
        assert (ether.dst, ether.src) == ("ff:ff:ff:ff:ff:ff", "02:aa:bb:cc:dd:ee")
        assert (arp.hwsrc, arp.psrc, arp.pdst) == ("02:aa:bb:cc:dd:ee", "203.0.113.2", "203.0.113.2")
    assert ops == [1, 2]
    asked = bytes(
        Ether(src="02:00:00:00:00:07", dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc="02:00:00:00:00:07", psrc="192.0.2.7", pdst="203.0.113.2")
    )
    request = parse_request(asked)
    assert request == Request(bytes.fromhex("020000000007"), socket.inet_aton("192.0.2.7"), address)
    arp = Ether(frames.answer(mac, address, request))[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (
        2,
        "02:aa:bb:cc:dd:ee",
        "203.0.113.2",
        "02:00:00:00:00:07",
        "192.0.2.7",
    )
    assert parse_request(bytes(Ether() / ARP(op=2, psrc="192.0.2.7", pdst="192.0.2.8", hwsrc="02:00:00:00:00:01"))) is None
    assert parse_request(b"short") is None


def test_backends_are_found_by_name() -> None:
    none, metal = load("cloud", "none"), load("cloud", "metal")
    config = ClusterConfig(cloud=CloudConfig("metal", {"pools": ["x"]}))
    assert none.controller(None, config) is None and none.node_component(None) is None
    with pytest.raises(PoolError):
        metal.controller(None, config)
    assert metal.instances is None
