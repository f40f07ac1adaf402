"""From Services and EndpointSlices to the table: the decisions that no backend has to make."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_core.kernel.conntrack import Flow, Tuple
from moorings_core.ports.objects import Key
from moorings_core.ports.proxy import Endpoint, ProxySettings, ServiceEntry, ServicePort
from moorings_proxy.cleanup import Frontend, stale, suspects
from moorings_proxy.model import Place, service_entry
from moorings_proxy.packed import PackedTable
from moorings_proxy.shadow import Shadow

HERE = Place("n1", "z1")


def service(**spec) -> dict:
    ports = spec.pop("ports", [{"name": "http", "port": 80, "nodePort": 30080}])
    status = spec.pop("status", {})
    return {
        "metadata": {"name": "web", "namespace": "d"},
        "spec": {"clusterIPs": ["10.96.0.1"], "ports": ports, **spec},
        "status": status,
    }


def endpoint(address: str, node: str = "n1", zones=(), nodes=(), **conditions) -> dict:
    hints = {"forZones": [{"name": z} for z in zones], "forNodes": [{"name": n} for n in nodes]}
    return {"addresses": [address], "nodeName": node, "conditions": conditions, "hints": hints}


def piece(*endpoints: dict, name: str = "s", ports=({"name": "http", "port": 8080, "protocol": "TCP"},), kind: str = "IPv4") -> dict:
    return {"metadata": {"name": name}, "addressType": kind, "ports": list(ports), "endpoints": list(endpoints)}


def chosen(*endpoints: dict, place: Place = HERE) -> tuple[list[str], list[str]]:
    entry = service_entry(service(), [piece(*endpoints)], place)
    (port,) = entry.ports
    return [e.address for e in port.endpoints], [e.address for e in port.local_endpoints]


TERMINATING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}


@pytest.mark.parametrize(
    "spec",
    [{"clusterIPs": ["None"]}, {"type": "ExternalName", "externalName": "x", "clusterIPs": []}, {"clusterIPs": []}],
)
def test_headless_and_named_services_are_not_served(spec) -> None:
    assert service_entry(service(**spec), [], HERE) is None


def test_another_proxys_service_is_not_served() -> None:
    other = service()
    other["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "x"}
    assert service_entry(other, [], HERE) is None


def test_ready_is_assumed_and_the_local_view_is_of_this_node() -> None:
    assert chosen(endpoint("10.64.0.1"), endpoint("10.64.1.1", "n2")) == (["10.64.0.1", "10.64.1.1"], ["10.64.0.1"])
    assert chosen(endpoint("10.64.0.1", ready=False), endpoint("10.64.1.1", "n2")) == (["10.64.1.1"], [])


def test_terminating_endpoints_serve_when_no_other_does_in_each_view_alone() -> None:
    here, there = endpoint("10.64.0.1", **TERMINATING), endpoint("10.64.1.1", "n2", ready=True)
    assert chosen(here, there) == (["10.64.1.1"], ["10.64.0.1"])
    assert chosen(here) == (["10.64.0.1"], ["10.64.0.1"])
    assert chosen(endpoint("10.64.0.1", **GONE)) == ([], [])


@pytest.mark.parametrize(
    ("endpoints", "wanted"),
    [
        ([endpoint("10.64.0.1", zones=["z1"]), endpoint("10.64.0.2", zones=["z2"])], ["10.64.0.1"]),
        ([endpoint("10.64.0.1", zones=["z1"]), endpoint("10.64.0.2")], ["10.64.0.1", "10.64.0.2"]),
        ([endpoint("10.64.0.1", zones=["z2"]), endpoint("10.64.0.2", zones=["z2"])], ["10.64.0.1", "10.64.0.2"]),
        ([endpoint("10.64.0.1", zones=["z1"], **TERMINATING), endpoint("10.64.0.2", zones=["z2"])], ["10.64.0.2"]),
        ([endpoint("10.64.0.1", zones=["z1"], nodes=["n1"]), endpoint("10.64.0.2", zones=["z1"], nodes=["n2"])], ["10.64.0.1"]),
        ([endpoint("10.64.0.1", zones=["z1"], nodes=["n3"]), endpoint("10.64.0.2", zones=["z2"], nodes=["n2"])], ["10.64.0.1"]),
    ],
)
def test_hints_hold_only_when_all_have_one_and_this_place_is_among_them(endpoints, wanted) -> None:
    assert chosen(*endpoints)[0] == wanted


def test_ports_meet_by_name_and_protocol_and_slices_are_merged() -> None:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns", "port": 53, "protocol": "TCP"},
        {"name": "x", "port": 1},
    ]
    slices = [
        piece(endpoint("10.64.0.2"), endpoint("10.64.0.1"), ports=[{"name": "dns", "port": 5353, "protocol": "UDP"}]),
        piece(endpoint("10.64.0.1"), name="t", ports=[{"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "x", "port": None}]),
        piece(endpoint("example.org"), name="u", kind="FQDN", ports=[{"name": "dns", "port": 5353, "protocol": "UDP"}]),
    ]
    entry = service_entry(service(ports=ports), slices, HERE)
    assert [[(e.address, e.port) for e in p.endpoints] for p in entry.ports] == [
        [("10.64.0.1", 5353), ("10.64.0.2", 5353)],
        [],
        [],
    ]


def test_addresses_and_policies() -> None:
    entry = service_entry(
        service(
            type="LoadBalancer",
            externalIPs=["192.0.2.1"],
            sessionAffinity="ClientIP",
            externalTrafficPolicy="Local",
            internalTrafficPolicy="Local",
            healthCheckNodePort=31000,
            loadBalancerSourceRanges=["10.0.0.0/8"],
            status={"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"ip": "192.0.2.8", "ipMode": "Proxy"}, {"hostname": "x"}]}},
        ),
        [piece(endpoint("10.64.0.1"), endpoint("10.64.0.2", **TERMINATING))],
        HERE,
    )
    assert entry == ServiceEntry(entry.ports, ("10.96.0.1",), ("192.0.2.1",), ("192.0.2.9",), ("10.0.0.0/8",), True, True, 10800, 31000, 1)
    timeout = {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7}}, "sessionAffinity": "ClientIP"}
    assert service_entry(service(**timeout), [], HERE).affinity == 7


def udp(*addresses: str, node_port: int = 0) -> ServiceEntry:
    return ServiceEntry((ServicePort("UDP", 53, node_port, tuple(Endpoint(a, 53) for a in addresses)),), ("10.96.0.1",))


SETTINGS = ProxySettings(node_addresses=("192.0.2.1",))
NAME = Key("d", "dns")
VIP, NODE_PORT = Frontend("10.96.0.1", 53), Frontend("192.0.2.1", 30053)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (None, udp("10.64.0.1"), {VIP}),
        (udp("10.64.0.1"), udp("10.64.0.1", "10.64.0.2"), set()),
        (udp("10.64.0.1", "10.64.0.2"), udp("10.64.0.2"), {VIP}),
        (udp("10.64.0.1"), udp(), {VIP}),
        (udp(), udp(), {VIP}),
        (udp("10.64.0.1"), None, {VIP}),
        (udp("10.64.0.1", node_port=30053), udp("10.64.0.2", node_port=30053), {VIP, NODE_PORT}),
        (None, dataclasses.replace(udp("10.64.0.1"), ports=(ServicePort("TCP", 53),)), set()),
    ],
)
def test_where_stale_flows_may_be(before, after, wanted) -> None:
    assert set(suspects({NAME: before}, {NAME: after}, SETTINGS)) == wanted


def test_a_flow_is_stale_when_no_endpoint_answers_for_it() -> None:
    def flow(destination: str, answerer: str) -> Flow:
        there, back = Tuple("10.64.0.9", destination, 17, 5000, 53), Tuple(answerer, "10.64.0.9", 17, 53, 5000)
        return Flow(there, back, b"", 2)

    good, old, none, other = (
        flow("10.96.0.1", "10.64.0.1"),
        flow("10.96.0.1", "10.64.0.2"),
        flow("10.96.0.1", "10.96.0.1"),
        flow("10.96.0.2", "x"),
    )
    wanted = {VIP: frozenset({("10.64.0.1", 53)})}
    assert stale([good, old, none, other], wanted) == [old, none]
    assert stale([good], {VIP: frozenset()}) == [good]


class Shadowed:
    """A shadow over services whose items are given, and what the kernel makes of its changes."""

    def __init__(self) -> None:
        self.services: dict[Key, dict] = {}
        self.shadow = Shadow(2, lambda name: self.services[name])
        self.kernel: dict = {}

    def load(self, services: dict[Key, dict]) -> None:
        self.services = {name: items for name, items in services.items() if items}
        found = self.shadow.load(sorted(self.services.items()))
        self.kernel = {(which, key): data for which, elements in found.items() for key, data in elements.items()}

    def change(self, delta: dict[Key, dict]) -> None:
        for name, items in delta.items():
            self.shadow.replace(name, self.services.get(name, {}), items)
            self.services[name] = items
        changes = self.shadow.take()
        for which, keys in changes.delete.items():
            for key in keys:
                del self.kernel[which, key]
        for which, elements in changes.add.items():
            for key, data in elements.items():
                assert (which, key) not in self.kernel
                self.kernel[which, key] = data


def test_a_shared_place_goes_as_a_whole_to_the_first_by_name_whoever_came_first() -> None:
    shadowed, verdict = Shadowed(), ("svc", b"vp")
    a, b, c = (Key("d", n) for n in "abc")
    items = {
        name: {verdict: name.name.encode(), **{("ep", b"vp" + bytes([n])): b"%d" % n for n in range(count)}}
        for name, count in ((b, 3), (c, 1), (a, 2))
    }
    for name, of in items.items():
        shadowed.change({name: of})
    assert shadowed.kernel == items[a]
    shadowed.change({a: {}})
    assert shadowed.kernel == items[b]
    shadowed.change({c: {}})
    assert shadowed.kernel == items[b]
    shadowed.change({b: {}})
    assert shadowed.kernel == {}


some_items = st.dictionaries(
    st.tuples(st.sampled_from(["svc", "ep", "np", "vips"]), st.sampled_from([b"11", b"112", b"21", b"3"])),
    st.sampled_from([b"x", b"y", b"z"]),
    max_size=5,
)
deltas = st.lists(st.dictionaries(st.sampled_from([Key("d", n) for n in "abc"]), some_items, max_size=3), max_size=8)


@given(st.dictionaries(st.sampled_from([Key("d", n) for n in "abc"]), some_items), deltas)
def test_what_the_kernel_should_hold_depends_on_the_services_alone_and_changes_lead_there(loaded, changed):
    shadowed = Shadowed()
    shadowed.load(loaded)
    for delta in changed:
        shadowed.change(delta)
        fresh = Shadowed()
        fresh.load(shadowed.services)
        assert shadowed.kernel == fresh.kernel


addresses = st.lists(st.sampled_from(["10.64.0.1", "fd64::1", "10.64.0.2"]), max_size=3).map(tuple)
endpoints = st.lists(st.builds(Endpoint, st.sampled_from(["10.64.0.1", "fd64::1"]), st.integers(1, 65535), st.booleans())).map(tuple)
ports = st.builds(ServicePort, st.sampled_from(["TCP", "UDP"]), st.integers(1, 65535), st.integers(0, 32767), endpoints, endpoints)
flags, numbers = st.booleans(), st.integers(0, 90000)
entries = st.builds(ServiceEntry, st.lists(ports, max_size=2).map(tuple), *[addresses] * 4, flags, flags, numbers, numbers, numbers)


@given(entries)
def test_a_packed_entry_is_read_as_it_was(entry) -> None:
    table = PackedTable({NAME: entry})
    assert dict(table) == dict(PackedTable(table)) == {NAME: entry} and type(table[NAME].ports) is tuple
    for character in ".:":
        some = any(character in a for a in (*entry.cluster_ips, *entry.external_ips, *entry.load_balancer_ips))
        assert not some or dict(table.having(character)) == {NAME: entry}
    assert not PackedTable({NAME: ServiceEntry((), ("10.96.0.1",))}).having(":")
    table[NAME] = other = dataclasses.replace(entry, affinity=entry.affinity + 1)
    assert table.pop(NAME) == other and not table
