"""Whatever the order of changes, the kernel ends as after a fresh sync; and a slot is never missing."""

import asyncio
import dataclasses
import signal
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorings_core.kernel.nftables import connect, wire
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.layout import Layout
from moorings_proxy.nftables import NftablesProxy

pytestmark = pytest.mark.netns
ADDRESSES = ["10.64.0.1", "10.64.0.2", "10.64.0.3", "10.64.0.4", "fd64::1", "fd64::2"]
endpoints = st.lists(
    st.builds(Endpoint, st.sampled_from(ADDRESSES), st.sampled_from([80, 81]), st.booleans()), max_size=5, unique=True
).map(tuple)
ports = st.lists(
    st.builds(
        ServicePort,
        st.sampled_from(["TCP", "UDP", "SCTP"]),
        st.sampled_from([80, 443]),
        st.sampled_from([0, 30001, 30002]),
        endpoints,
        endpoints,
    ),
    max_size=2,
    unique_by=lambda port: (port.protocol, port.port),
).map(tuple)
entries = st.builds(
    ServiceEntry,
    ports,
    cluster_ips=st.sampled_from([("10.96.0.1",), ("10.96.0.2", "fd96::2"), ("fd96::3",)]),
    external_ips=st.sampled_from([(), ("192.0.2.1",), ("192.0.2.1", "fd00::1")]),
    load_balancer_ips=st.sampled_from([(), ("192.0.2.2",)]),
    source_ranges=st.sampled_from([(), ("10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/24"), ("fd00::/8",)]),
    internal_local=st.booleans(),
    external_local=st.booleans(),
    affinity=st.sampled_from([0, 0, 60, 120]),
)
names = st.sampled_from([Key("a", "one"), Key("a", "two"), Key("b", "three")])
deltas = st.lists(st.dictionaries(names, st.none() | entries, min_size=1, max_size=3), max_size=6)


FAMILIES = (wire.IPV4, wire.IPV6)


def dump(netns: str, families=FAMILIES) -> dict:
    connection = connect(netns)
    found: dict = {}
    for family in families:
        layout = Layout(family)
        for name, spec in layout.sets.items():
            found[family, name] = connection.dump(spec)
        found[family, "sets"] = connection.sets(family, "moorings_proxy")
        rules = connection.rules(family, "moorings_proxy")
        found[family, "constant"] = {name: rule for name, rule in rules.items() if not name.startswith(("lb", "np"))}
    connection.close()
    return found


def check_slots(state: dict, families=FAMILIES) -> None:
    """Every verdict that chooses among n has its n slots."""
    for family in families:
        for verdicts, slots in (
            ("svc", "ep"),
            ("svc_in", "ep"),
            ("np", "np_ep"),
            ("np_in", "np_ep"),
            ("sticky", "ep"),
            ("np_sticky", "np_ep"),
        ):
            for key, verdict in state[family, verdicts].items():
                chain = wire.string(wire.attribute_map(wire.attribute_map(verdict)[2])[2])
                if chain.startswith("sticky"):
                    assert key in state[family, "sticky" if verdicts == "svc" else "np_sticky"]
                    continue
                kind, number = chain.split("-")
                first = 0x80000000 if kind.endswith("l") else 0
                for slot in range(int(number)):
                    assert key + (first + slot).to_bytes(4, "little") in state[family, slots]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deltas)
def test_any_sequence_of_changes_is_a_fresh_sync(pair, changes) -> None:
    one, two = pair

    async def body() -> None:
        changed, fresh = NftablesProxy(ProxySettings(netns=one)), NftablesProxy(ProxySettings(netns=two))
        try:
            table: dict[Key, ServiceEntry] = {}
            await changed.sync(table)
            for delta in changes:
                await changed.change(delta)
                await changed.flush_conntrack(delta)
                for name, entry in delta.items():
                    table.pop(name, None)
                    if entry is not None:
                        table[name] = entry
            await fresh.sync(table)
            state = dump(one)
            assert state == dump(two)
            check_slots(state)
            assert await changed.verify() == 0
        finally:
            await changed.close()
            await fresh.close()

    asyncio.run(body())


@pytest.fixture
def pair(lab):
    """Two namespaces for a test; examples follow each other in them, so each sync also clears what the last one left."""
    return lab.path("node"), lab.path("world")


async def test_the_kernel_takes_a_refused_element_without_losing_the_others(lab) -> None:
    """An element that somebody else put there first makes the transaction fail: all of the change must still come."""
    proxy = NftablesProxy(ProxySettings(netns=lab.node))
    await proxy.sync({})
    lab.run("node", "nft", "add element ip moorings_proxy vips { 10.96.0.1 }")
    entry = ServiceEntry((ServicePort("TCP", 80, 0, (Endpoint("10.64.0.1", 80),)),), ("10.96.0.1",))
    more = dataclasses.replace(entry, cluster_ips=("10.96.0.2",))
    await proxy.change({Key("a", "one"): entry, Key("a", "two"): more})
    assert await proxy.verify() == 0
    state = dump(lab.node)
    assert len(state[wire.IPV4, "svc"]) == len(state[wire.IPV4, "vips"]) == 2
    await proxy.close()


COLD_START = """
import asyncio, os, signal, sys
from moorings_core.kernel.nftables import Connection
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy import family
from moorings_proxy.nftables import NftablesProxy

family.CHUNK, left, commit = 300, int(sys.argv[2]), Connection.commit


def counted(self, batch):
    global left
    commit(self, batch)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)


Connection.commit = counted


def entry(n):
    ends = tuple(Endpoint(f"10.64.{n >> 6}.{(n & 63) * 4 + e}", 80, e == 0) for e in range(3))
    return ServiceEntry((ServicePort("TCP", 80, 30000 + n, ends, ends[:1]),), (f"10.96.{n >> 8}.{n & 255}",), affinity=n % 7 and 60)


asyncio.run(NftablesProxy(ProxySettings(netns=sys.argv[1])).sync({Key("d", f"s{n}"): entry(n) for n in range(400)}))
"""


@pytest.mark.parametrize("commits", [1, 2, 4, 8, 13])
async def test_a_cold_start_may_be_killed_after_any_transaction(pair, commits: int) -> None:
    """Whatever is there then serves rightly as far as it goes, and the next start makes it whole."""
    one, two = pair

    def start(netns: str, left: int) -> int:
        return subprocess.run([sys.executable, "-c", COLD_START, netns, str(left)], timeout=60).returncode

    assert await asyncio.to_thread(start, one, commits) == -signal.SIGKILL
    check_slots(dump(one, [wire.IPV4]), [wire.IPV4])
    assert await asyncio.to_thread(start, one, 0) == 0
    assert await asyncio.to_thread(start, two, 0) == 0
    whole = dump(one)
    assert whole == dump(two)
    assert len(whole[wire.IPV4, "svc"]) == 400
