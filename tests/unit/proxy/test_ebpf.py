"""What the programs are told, on maps that are dicts: any way there is the same, and a full map loses nothing."""

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ServiceEntry, ServicePort
from moorings_proxy.ebpf.sockets import WHICH, Sockets, backend, frontend, read, render


class DictMap:
    """A map of the kernel's, with as much room."""

    def __init__(self, room: int = 10_000) -> None:
        self.held: dict[bytes, bytes] = {}
        self.room = room

    def items(self) -> dict[bytes, bytes]:
        return dict(self.held)

    def get(self, key: bytes) -> bytes | None:
        return self.held.get(key)

    def update(self, elements: dict[bytes, bytes]) -> None:
        for key, value in elements.items():
            if key not in self.held and len(self.held) == self.room:
                raise OSError(errno.E2BIG, "full")
            self.held[key] = value

    def delete(self, keys) -> None:
        for key in keys:
            self.held.pop(key, None)


ADDRESSES = ["10.64.0.1", "10.64.0.2", "fd64::1", "fd64::2"]
endpoints = st.lists(st.builds(Endpoint, st.sampled_from(ADDRESSES), st.sampled_from([80, 81])), max_size=4, unique=True).map(tuple)
ports = st.lists(
    st.builds(ServicePort, st.sampled_from(["TCP", "UDP", "SCTP"]), st.sampled_from([80, 443]), st.just(0), endpoints, endpoints),
    max_size=2,
    unique_by=lambda port: (port.protocol, port.port),
).map(tuple)
entries = st.builds(
    ServiceEntry,
    ports,
    cluster_ips=st.sampled_from([("10.96.0.1",), ("10.96.0.2", "fd96::2")]),
    external_ips=st.sampled_from([(), ("192.0.2.1", "fd00::1")]),
    load_balancer_ips=st.sampled_from([(), ("192.0.2.2",)]),
    source_ranges=st.sampled_from([(), ("10.0.0.0/8",)]),
    internal_local=st.booleans(),
    affinity=st.sampled_from([0, 0, 60]),
)
names = st.sampled_from([Key("a", "one"), Key("a", "two"), Key("b", "three")])
deltas = st.lists(st.dictionaries(names, st.none() | entries, min_size=1, max_size=3), max_size=6)


def led(frontends: DictMap, backends: DictMap) -> dict[bytes, bytes]:
    """Return what the maps say; every slot is there, and none that nobody looks for."""
    found, orphans = read(frontends.items(), backends.items())
    assert not orphans and sum(map(len, found.values())) == 20 * len(backends.held)
    return found


@given(deltas)
def test_any_sequence_of_changes_is_a_fresh_sync(changes) -> None:
    maps, sockets, table = (DictMap(), DictMap()), Sockets(), {}
    sockets.sync(table, *maps)
    for delta in changes:
        sockets.change(delta, *maps)
        for name, entry in delta.items():
            table.pop(name, None)
            if entry is not None:
                table[name] = entry
        fresh = DictMap(), DictMap()
        assert Sockets().sync(table, *fresh) == len(fresh[0].held)
        assert led(*maps) == led(*fresh)
        assert sockets.repair(*maps) == Sockets().sync(table, *maps) == 0


@given(entries, st.sets(st.integers(0, 9)), st.sets(st.integers(0, 5)))
def test_a_damaged_map_is_repaired(entry, slots: set[int], choices: set[int]) -> None:
    maps, sockets = (DictMap(), DictMap()), Sockets()
    sockets.sync({Key("a", "one"): entry}, *maps)
    whole = led(*maps)
    for which, damage in ((0, choices), (1, slots)):
        maps[which].delete([key for n, key in enumerate(maps[which].held) if n in damage])
    maps[1].held[struct.pack("=II", 99, 0)] = backend("10.64.9.9", 9)
    assert sockets.repair(*maps) > 0
    assert led(*maps) == whole


def test_what_is_left_to_nftables() -> None:
    both = (Endpoint("10.64.0.1", 80), Endpoint("fd64::1", 80))
    port = ServicePort("TCP", 80, 30080, both, both[:1])
    whole = ServiceEntry((port,), ("10.96.0.1", "fd96::1"), ("192.0.2.1",), ("192.0.2.2",))
    four, six = backend("10.64.0.1", 80), backend("fd64::1", 80)
    vip, vip6, external, balanced = (frontend(a, 80, "TCP") for a in ("10.96.0.1", "fd96::1", "192.0.2.1", "192.0.2.2"))
    assert render(whole) == {(WHICH, vip): four, (WHICH, vip6): six, (WHICH, external): four, (WHICH, balanced): four}

    def without(**more) -> set[bytes]:
        entry = ServiceEntry((port,), ("10.96.0.1", "fd96::1"), ("192.0.2.1",), ("192.0.2.2",), **more)
        return {key for (_, key), data in render(entry).items() if data}

    assert without(source_ranges=("10.0.0.0/8",)) == {vip, vip6, external}
    assert without(internal_local=True) == {vip, external, balanced}
    assert without(external_local=True) == {vip, vip6, external, balanced}
    assert without(affinity=60) == set()
    assert render(ServiceEntry((ServicePort("SCTP", 80, 0, both),), ("10.96.0.1",))) == {}


def test_a_place_that_is_left_to_nftables_is_given_to_nobody_else() -> None:
    """The first by name has it there, too: both must lead to the same Service."""

    def entry(vip: str, pod: str, **more) -> ServiceEntry:
        return ServiceEntry((ServicePort("TCP", 80, 0, (Endpoint(pod, 80),)),), (vip,), ("192.0.2.1",), **more)

    frontends, backends, sockets = DictMap(), DictMap(), Sockets()
    first, second = Key("a", "one"), Key("a", "two")
    one, two, shared = (frontend(a, 80, "TCP") for a in ("10.96.0.1", "10.96.0.2", "192.0.2.1"))
    sticky = entry("10.96.0.1", "10.64.0.1", affinity=60)
    sockets.sync({first: sticky, second: entry("10.96.0.2", "10.64.0.2")}, frontends, backends)
    assert led(frontends, backends) == {two: backend("10.64.0.2", 80)}
    sockets.change({first: entry("10.96.0.1", "10.64.0.1")}, frontends, backends)
    assert led(frontends, backends) == dict.fromkeys((one, shared), backend("10.64.0.1", 80)) | {two: backend("10.64.0.2", 80)}
    sockets.change({first: sticky}, frontends, backends)
    assert led(frontends, backends) == {two: backend("10.64.0.2", 80)}
    sockets.change({first: None}, frontends, backends)
    assert led(frontends, backends) == dict.fromkeys((two, shared), backend("10.64.0.2", 80))


def test_a_full_map_leaves_the_rest_to_nftables_and_nothing_old_in_its_place() -> None:
    def entry(*last: int) -> ServiceEntry:
        return ServiceEntry((ServicePort("TCP", 80, 0, tuple(Endpoint(f"10.64.0.{n}", 80) for n in last)),), ("10.96.0.1",))

    frontends, backends, sockets = DictMap(), DictMap(3), Sockets()
    sockets.sync({Key("a", "one"): entry(1)}, frontends, backends)
    sockets.change({Key("a", "one"): entry(2, 3, 4)}, frontends, backends)
    assert frontends.held == {} == backends.held
    sockets.change({Key("a", "one"): entry(5)}, frontends, backends)
    assert led(frontends, backends) == {frontend("10.96.0.1", 80, "TCP"): backend("10.64.0.5", 80)}
