"""CoreDNS' own test cases for its kubernetes plugin, put to our zone: read from its Go module, which `labs/setup.sh tests` brings."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from pathlib import Path

import pytest

from moorings_proxy.dns import wire
from moorings_proxy.dns.zone import Zone

MODULE = "github.com/coredns/coredns@v1.15.0"
CASE = re.compile(r'Qname: "([^"]+)", Qtype: dns\.Type(\w+),')
RECORD = re.compile(r'test\.(\w+)\("([^"]+)"\)')
PORTS = [{"name": "http", "protocol": "TCP", "port": 80}]
VIRTUAL = {
    ("testns", "svc1"): ["10.0.0.1"], ("testns", "svcempty"): ["10.0.0.1"], ("testns", "svc6"): ["1234:abcd::1"],
    ("testns", "svc-dual-stack"): ["10.0.0.3", "10::3"], ("unexposedns", "svc1"): ["10.0.0.2"], ("kube-system", "kubedns"): ["10.0.0.10"],
}  # fmt: skip
HEADLESS = {
    ("testns", "hdls1"): (
        PORTS, ["172.0.0.2", "172.0.0.3", "172.0.0.4/dup-name", "172.0.0.5/dup-name", "5678:abcd::1", "5678:abcd::2"],
    ),
    ("testns", "hdlsprtls"): ([], ["172.0.0.20"]),
}  # fmt: skip
NAMED = {("testns", "external"): "ext.interwebs.test", ("testns", "external-to-service"): "svc1.testns.svc.cluster.local."}
OTHERWISE = {
    "svc1.testns.svc.cluster.local. SRV": "the specification has SRV records for named ports alone",
    "svcempty.testns.svc.cluster.local. SRV": "as above",
    "svc6.testns.svc.cluster.local. SRV": "as above",
    "svc-dual-stack.testns.svc.cluster.local. SRV": "as above",
}
"""What CoreDNS answers beyond the specification."""


class Objects:
    """The objects that the cases are about."""

    def service(self, namespace, name):
        key = (namespace, name)
        if key in NAMED:
            spec = {"type": "ExternalName", "externalName": NAMED[key]}
        elif key in VIRTUAL:
            spec = {"clusterIPs": VIRTUAL[key], "ports": PORTS}
        elif key in HEADLESS:
            spec = {"clusterIPs": ["None"], "clusterIP": "None"}
        else:
            return None
        return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}

    def slices(self, namespace, name):
        ports, listed = HEADLESS.get((namespace, name), ([], []))
        for kind in ("IPv4", "IPv6"):
            some = [text.split("/") for text in listed if (":" in text) == (kind == "IPv6")]
            endpoints = [{"addresses": [a], "conditions": {"ready": True}, **({"hostname": h[0]} if h else {})} for a, *h in some]
            yield {"metadata": {"name": kind}, "addressType": kind, "ports": ports, "endpoints": endpoints}

    def has_namespace(self, name):
        return any(name == namespace for namespace, _ in (*VIRTUAL, *HEADLESS, *NAMED))

    def by_address(self, address):
        return ()


def cases():
    """Yield (name, type, rcode, answers) of every case of an ordinary cluster."""
    found = subprocess.run(["go", "env", "GOMODCACHE"], capture_output=True, text=True).stdout.strip() if _has_go() else ""
    file = Path(found) / MODULE / "plugin" / "kubernetes" / "handler_test.go"
    if not found or not file.exists():
        return [pytest.param("", "", "", set(), marks=pytest.mark.skip(f"no {MODULE}: labs/setup.sh tests brings it"))]
    text = file.read_text()
    text = text[text.index("var commonDnsTestCases") : text.index("func TestServeDNS")]
    made = []
    for match, after in zip(CASE.finditer(text), [*[m.start() for m in CASE.finditer(text)][1:], len(text)], strict=True):
        block = text[match.end() : after]
        answers = re.split(r"\b(?:Ns|Extra):", block.split("Answer:")[1])[0] if "Answer:" in block else ""
        rcode = re.search(r"Rcode:\s+dns\.Rcode(\w+)", block)
        made.append(
            pytest.param(*match.groups(), rcode[1] if rcode else "Success", set(RECORD.findall(answers)), id=" ".join(match.groups()))
        )
    return made


def _has_go() -> bool:
    return subprocess.run(["sh", "-c", "command -v go"], capture_output=True).returncode == 0


def packed(name: str, kind: str, rest: list[str]) -> tuple[str, int, int, bytes]:
    """Return a record of the cases as we have it."""
    data = {
        "A": lambda: ipaddress.ip_address(rest[0]).packed,
        "AAAA": lambda: ipaddress.ip_address(rest[0]).packed,
        "SRV": lambda: wire.pack_srv(int(rest[2]), rest[3].rstrip("."), int(rest[1])),
        "CNAME": lambda: wire.pack_name(rest[0].rstrip(".")),
        "TXT": lambda: bytes([len(rest[0].strip(chr(39)))]) + rest[0].encode(),
    }[kind]()
    return name.rstrip("."), getattr(wire, kind), wire.NOERROR, data


@pytest.mark.parametrize(("name", "kind", "rcode", "answers"), cases())
def test_we_answer_as_coredns_does(name: str, kind: str, rcode: str, answers: set[tuple[str, str]]) -> None:
    zone = Zone("cluster.local", Objects(), [ipaddress.ip_network("10.0.0.0/8")])
    found = zone.lookup(name.rstrip(".").lower(), getattr(wire, kind))
    assert found is not None
    wanted = {packed(words[0], words[3], words[4:]) for _, text in answers if (words := text.split())}
    if f"{name} {kind}" in OTHERWISE:
        assert found.answers == [] or not found.answers
        return
    assert found.rcode == {"Success": wire.NOERROR, "NameError": wire.NXDOMAIN}[rcode]
    ours = {(r.name, r.type, wire.NOERROR, r.data) for r in found.answers if r.type != wire.SOA}
    assert ours == ({w for w in wanted if w[1] == wire.CNAME} if found.alias else wanted)
