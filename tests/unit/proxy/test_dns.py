"""The DNS codec and zone, read back by dnspython."""

from ipaddress import ip_network
from typing import ClassVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_proxy.dns import wire
from moorings_proxy.dns.forward import parse_upstreams
from moorings_proxy.dns.server import Resolver
from moorings_proxy.dns.zone import Zone

DOMAIN = "cluster.local"


def service(name: str, namespace: str = "default", **spec) -> dict:
    ports = spec.pop("ports", [{"name": "http", "port": 80, "protocol": "TCP"}])
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"ports": ports, **spec}}


def piece(service_name: str, *endpoints: dict, kind: str = "IPv4") -> dict:
    metadata = {"name": service_name + "-x", "namespace": "default", "labels": {"kubernetes.io/service-name": service_name}}
    return {
        "metadata": metadata,
        "addressType": kind,
        "endpoints": list(endpoints),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


class Cluster:
    services: ClassVar[dict] = {
        ("default", "web"): service("web", clusterIPs=["10.96.0.20", "fd96::20"]),
        ("default", "plain"): service("plain", clusterIP="10.96.0.21", ports=[{"port": 80}]),
        ("default", "db"): service("db", clusterIP="None"),
        ("default", "empty"): service("empty", clusterIP="None"),
        ("default", "out"): service("out", type="ExternalName", externalName="Example.org."),
        ("default", "in"): service("in", type="ExternalName", externalName="web.default.svc.cluster.local"),
        ("default", "loop"): service("loop", type="ExternalName", externalName="loop.default.svc.cluster.local"),
        ("kube-system", "kube-dns"): service("kube-dns", "kube-system", clusterIP="10.96.0.10"),
    }
    pieces: ClassVar[dict] = {
        "db": [
            piece(
                "db",
                {"addresses": ["10.64.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
                {"addresses": ["10.64.0.6"], "conditions": {"ready": None}},
                {"addresses": ["10.64.0.7"], "conditions": {"ready": False}},
            ),
            piece("db", {"addresses": ["fd64::5"], "hostname": "db-0"}, kind="IPv6"),
        ]
    }

    def service(self, namespace, name):
        return self.services.get((namespace, name))

    def slices(self, namespace, name):
        return self.pieces.get(name, [])

    def has_namespace(self, name):
        return name in ("default", "kube-system")

    def by_address(self, address):
        for found in self.services.values():
            if address in [found["spec"].get("clusterIP"), *found["spec"].get("clusterIPs", [])]:
                yield found, None
        for some in self.pieces["db"]:
            if any(address in e["addresses"] for e in some["endpoints"]):
                yield None, some


RESOLVER = Resolver(Zone(DOMAIN, Cluster(), [ip_network("10.96.0.0/16"), ip_network("10.64.0.0/16")]), None)


def ask(name: str, kind: str = "A", **options) -> dns.message.Message:
    answer = RESOLVER.answer(dns.message.make_query(name, kind, **options).to_wire())
    assert isinstance(answer, bytes), "not ours"
    return dns.message.from_wire(answer)


def texts(message: dns.message.Message, section: str = "answer") -> set[str]:
    return {
        f"{rrset.name.to_text(True)} {dns.rdatatype.to_text(rrset.rdtype)} {item}" for rrset in getattr(message, section) for item in rrset
    }


WEB, DB = "web.default.svc.cluster.local", "db.default.svc.cluster.local"
PRESENT = [
    (WEB, "A", {f"{WEB} A 10.96.0.20"}),
    (WEB.upper(), "A", {f"{WEB.upper()} A 10.96.0.20"}),
    (WEB, "AAAA", {f"{WEB} AAAA fd96::20"}),
    (f"_http._tcp.{WEB}", "SRV", {f"_http._tcp.{WEB} SRV 0 100 80 {WEB}."}),
    (DB, "A", {f"{DB} A 10.64.0.5", f"{DB} A 10.64.0.6"}),
    (DB, "AAAA", {f"{DB} AAAA fd64::5"}),
    (f"db-0.{DB}", "A", {f"db-0.{DB} A 10.64.0.5"}),
    (f"10-64-0-6.{DB}", "A", {f"10-64-0-6.{DB} A 10.64.0.6"}),
    (
        f"_http._tcp.{DB}",
        "SRV",
        {f"_http._tcp.{DB} SRV 0 33 8080 db-0.{DB}.", f"_http._tcp.{DB} SRV 0 33 8080 10-64-0-6.{DB}."},
    ),
    ("out.default.svc.cluster.local", "CNAME", {"out.default.svc.cluster.local CNAME example.org."}),
    ("in.default.svc.cluster.local", "A", {"in.default.svc.cluster.local CNAME " + WEB + ".", f"{WEB} A 10.96.0.20"}),
    ("10-64-0-9.default.pod.cluster.local", "A", {"10-64-0-9.default.pod.cluster.local A 10.64.0.9"}),
    ("fd64--9.default.pod.cluster.local", "AAAA", {"fd64--9.default.pod.cluster.local AAAA fd64::9"}),
    ("20.0.96.10.in-addr.arpa", "PTR", {f"20.0.96.10.in-addr.arpa PTR {WEB}."}),
    ("5.0.64.10.in-addr.arpa", "PTR", {f"5.0.64.10.in-addr.arpa PTR db-0.{DB}."}),
    ("dns-version.cluster.local", "TXT", {'dns-version.cluster.local TXT "1.1.0"'}),
    ("cluster.local", "NS", {"cluster.local NS ns.dns.cluster.local."}),
    ("ns.dns.cluster.local", "A", {"ns.dns.cluster.local A 10.96.0.10"}),
]


@pytest.mark.parametrize(("name", "kind", "wanted"), PRESENT)
def test_what_is_there(name: str, kind: str, wanted: set[str]) -> None:
    answer = ask(name, kind)
    assert texts(answer) == {w.replace(" example", " example") for w in wanted}
    assert answer.rcode() == dns.rcode.NOERROR and answer.flags & dns.flags.AA and not answer.authority


def test_an_srv_answer_brings_the_addresses_of_its_targets() -> None:
    assert texts(ask(f"_http._tcp.{DB}", "SRV"), "additional") == {
        f"db-0.{DB} A 10.64.0.5", f"db-0.{DB} AAAA fd64::5", f"10-64-0-6.{DB} A 10.64.0.6",
    }  # fmt: skip


NODATA = [
    ("plain.default.svc.cluster.local", "AAAA"), ("empty.default.svc.cluster.local", "A"), ("default.svc.cluster.local", "A"),
    ("svc.cluster.local", "A"), ("cluster.local", "A"), (f"_tcp.{WEB}", "SRV"), ("10-64-0-9.default.pod.cluster.local", "AAAA"),
    (WEB, "MX"), (f"_http._tcp.{WEB}", "A"),
]  # fmt: skip
ABSENT = [
    "nosuch.default.svc.cluster.local", "web.nosuch.svc.cluster.local", "x.cluster.local", f"_http._udp.{WEB}", f"x.{WEB}",
    f"_nosuch._tcp.{WEB}", f"db-9.{DB}", f"10-64-0-7.{DB}", "notanip.default.pod.cluster.local", "99.9.96.10.in-addr.arpa",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "rcode"), [(*n, dns.rcode.NOERROR) for n in NODATA] + [(n, "A", dns.rcode.NXDOMAIN) for n in ABSENT]
)
def test_what_is_not_there_comes_with_the_soa(name: str, kind: str, rcode: int) -> None:
    answer = ask(name, kind)
    assert answer.rcode() == rcode
    assert not answer.answer
    assert [r.rdtype for r in answer.authority] == [dns.rdatatype.SOA]


@pytest.mark.parametrize("name", ["example.org", "local", "cluster.local.example.org", "1.1.1.1.in-addr.arpa", "xcluster.local"])
def test_what_is_not_ours_goes_upstream(name: str) -> None:
    query = RESOLVER.answer(dns.message.make_query(name, "A").to_wire())
    assert isinstance(query, wire.Query) and query.name == name


def test_an_external_name_that_names_itself_ends() -> None:
    answer = RESOLVER.answer(dns.message.make_query("loop.default.svc.cluster.local", "A").to_wire())
    assert texts(dns.message.from_wire(answer)) == {"loop.default.svc.cluster.local CNAME loop.default.svc.cluster.local."}


def test_an_answer_too_long_for_udp_is_cut_and_says_so() -> None:
    class Many(Cluster):
        def slices(self, namespace, name):
            return [piece("db", *({"addresses": [f"10.64.1.{n}"]} for n in range(200)))]

    resolver = Resolver(Zone(DOMAIN, Many()), None)
    sizes = {}
    for edns, limit in ((None, 512), (4096, 1232)):
        query = dns.message.make_query(DB, "A")
        query.use_edns(False) if edns is None else query.use_edns(0, payload=edns)
        raw = resolver.answer(query.to_wire())
        answer = dns.message.from_wire(raw)
        assert len(raw) <= limit and answer.flags & dns.flags.TC
        sizes[limit] = len(raw)
        whole = dns.message.from_wire(resolver.answer(query.to_wire(), limit=65535))
        assert not whole.flags & dns.flags.TC and len(whole.answer[0]) == 200
    assert sizes[1232] > sizes[512]


@given(st.binary(max_size=80))
def test_rubbish_is_answered_with_an_error_or_not_at_all(data: bytes) -> None:
    try:
        answer = RESOLVER.answer(data)
    except wire.WireError:
        return
    if isinstance(answer, bytes):
        assert answer[:2] == data[:2] and answer[2] & 0x80


@given(st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True), min_size=1, max_size=8))
def test_names_survive(labels: list[str]) -> None:
    name = ".".join(labels)
    assert wire.read_name(wire.pack_name(name), 0) == (name, len(name) + 2)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_reading_a_name_ends(data: bytes, at: int) -> None:
    try:
        _, end = wire.read_name(data, at)
    except wire.WireError:
        return
    assert at < end <= len(data)


def test_upstreams_without_ourselves() -> None:
    texts = ["10.0.0.1", "10.96.0.10", "127.0.0.53", "127.0.0.1:5353", "[fd00::1]:54", "fd00::2", "rubbish"]
    assert parse_upstreams(texts, ["10.96.0.10"]) == [("10.0.0.1", 53), ("127.0.0.1", 5353), ("fd00::1", 54), ("fd00::2", 53)]
