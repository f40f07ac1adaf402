import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings_cni import install, results, server, wishes
from moorings_cni.errors import CniError
from moorings_cni.protocol import SUPPORTED, parse, version_answer
from moorings_cni.wishes import arguments, dns, port_mappings
from moorings_core.ports.network import Attachment, AttachmentKey, Bandwidth, PortMapping

ENVIRONMENT = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "abc", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0"}
ATTACHMENT = Attachment(
    AttachmentKey("abc", "eth0"), "/run/netns/x", ("10.64.1.5", "fd00::5"), ("169.254.1.1", "fe80::1"), "0a:58:0a:40:01:05", 1450,
    "mo1", "ee:ee:ee:ee:ee:ee", 1048581, 5,
)  # fmt: skip


def config(**fields):
    return json.dumps({"cniVersion": "1.0.0", "name": "moorings", "type": "moorings-cni"} | fields).encode()


def test_what_add_asks_for():
    environment = ENVIRONMENT | {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1"}
    first = {"hostPort": 80, "containerPort": 8080, "protocol": "TCP", "hostIP": "0.0.0.0"}
    mappings = [first, {"hostPort": 0, "containerPort": 1}]
    request = parse(environment, config(runtimeConfig={"portMappings": mappings})).request()
    assert (request.pod, request.pod_uid, request.netns) == ("shop/web", "u-1", "/run/netns/x")
    assert request.ports == (PortMapping(80, 8080, "tcp", ""),)


def test_containerd_s_spelling_of_capabilities_is_understood():
    asked = {
        "portMappings": [{"HostPort": 80, "ContainerPort": 8080, "Protocol": "udp", "HostIP": "127.0.0.1"}],
        "bandwidth": {"IngressRate": 1000, "IngressBurst": 2000, "EgressRate": 3000, "EgressBurst": 4000},
        "ipRanges": [[{"Subnet": "10.64.1.0/28", "RangeStart": "", "RangeEnd": "", "Gateway": ""}]],
        "dns": {"Servers": ["10.96.0.10"], "Searches": ["x"], "Options": []},
    }
    request = parse(ENVIRONMENT, config(runtimeConfig=asked)).request()
    assert request.ports == (PortMapping(80, 8080, "udp", "127.0.0.1"),)
    assert request.bandwidth == Bandwidth(1000, 2000, 3000, 4000) and request.ranges == ("10.64.1.0/28",)
    assert dns({"runtimeConfig": asked}) == {"nameservers": ["10.96.0.10"], "search": ["x"]}


def test_all_missing_variables_are_named_at_once():
    with pytest.raises(CniError, match="CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME") as raised:
        parse({"CNI_COMMAND": "ADD"}, config())
    assert raised.value.code == 4
    assert json.loads(raised.value.to_json("1.0.0"))["cniVersion"] == "1.0.0"


@pytest.mark.parametrize("name", ["a" * 16, ".", "..", "a/b", "a:b", "a b", ""])
def test_interface_names_that_are_none(name):
    with pytest.raises(CniError) as raised:
        parse(ENVIRONMENT | {"CNI_IFNAME": name}, config())
    assert raised.value.code == 4


def test_del_needs_no_netns_and_status_no_container():
    assert parse({k: v for k, v in (ENVIRONMENT | {"CNI_COMMAND": "DEL"}).items() if k != "CNI_NETNS"}, config()).verb == "DEL"
    assert parse({"CNI_COMMAND": "STATUS"}, config(cniVersion="1.1.0")).verb == "STATUS"


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_verbs_that_a_version_does_not_have(verb):
    with pytest.raises(CniError) as raised:
        parse({"CNI_COMMAND": verb}, config(cniVersion="1.0.0"))
    assert raised.value.code == 1


NO_MAPPINGS = [{}, {"hostPort": "x", "containerPort": 1}, {"hostPort": 1, "containerPort": 1, "protocol": "icmp"}, 7]


@pytest.mark.parametrize("item", NO_MAPPINGS)
def test_port_mappings_that_are_none(item):
    with pytest.raises(CniError) as raised:
        port_mappings({"portMappings": [item]})
    assert raised.value.code == 7


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_result_has_only_the_fields_of_its_version(version):
    result = json.loads(results.result(ATTACHMENT, version, {}))
    assert result["cniVersion"] == version
    assert [("version" in ip) for ip in result["ips"]] == [version.startswith("0.")] * 2
    assert [("mtu" in link) for link in result["interfaces"]] == [version == "1.1.0"] * 2
    assert [ip["address"] for ip in result["ips"]] == ["10.64.1.5/32", "fd00::5/128"]
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}]
    assert json.loads(version_answer(version))["supportedVersions"][-1] == "1.1.0"


@given(st.dictionaries(st.text("CNI_ABZ", min_size=1), st.text("abc=;/", max_size=20)), st.binary())
def test_the_wire_between_executable_and_server(environment, stdin):
    request = b"\0".join(f"{k}={v}".encode() for k, v in environment.items()) + b"\0\0" + stdin
    if environment:
        assert server.parse(request) == (environment, stdin)


def test_arguments_ignore_what_is_no_pair():
    assert arguments("A=1;;B;C=x=y") == {"A": "1", "C": "x=y"}


def test_the_executable_is_whole(tmp_path):
    text = install.script(tmp_path / "cni.sock", tmp_path / "spool", perl="")
    assert text.startswith("#!/") and f'SOCKET = b"{tmp_path}/cni.sock"' in text and "@" not in text and '"""' not in text
    compile(text, "client", "exec")
    text = install.script(tmp_path / "it's.sock", tmp_path / "spool", perl="/usr/bin/perl")
    assert text.startswith("#!/usr/bin/perl\n") and r"it\'s.sock" in text and "@SOCKET" not in text
    install.executables(tmp_path / "bin", tmp_path / "cni.sock", tmp_path / "spool")
    install.executables(tmp_path / "bin", tmp_path / "cni.sock", tmp_path / "spool")
    assert sorted(p.name for p in (tmp_path / "bin").iterdir()) == ["loopback", "moorings-cni", "moorings-ipam"]


def test_an_earlier_result_is_kept_and_written_in_the_version_asked_for():
    before = {
        "interfaces": [{"name": "br0", "mtu": 1500}],
        "ips": [{"address": "10.1.0.2/24", "interface": 0}],
        "routes": [{"dst": "10.0.0.0/8", "table": 5}],
    }
    result = json.loads(results.result(ATTACHMENT, "0.4.0", {"nameservers": ["10.96.0.10"]}, before))
    assert result["interfaces"][0]["name"] == "br0" and "mtu" not in result["interfaces"][0]
    assert result["ips"][0] == {"address": "10.1.0.2/24", "interface": 0, "version": "4"}
    assert {ip["interface"] for ip in result["ips"][1:]} == {2}
    assert result["routes"][0] == {"dst": "10.0.0.0/8"} and result["dns"] == {"nameservers": ["10.96.0.10"]}


def test_what_a_runtime_asks_for_is_read_from_capabilities_then_args_then_cni_args():
    config = {
        "runtimeConfig": {"mac": "02:00:00:00:00:01", "bandwidth": {"ingressRate": 8000}},
        "args": {"cni": {"ips": ["10.64.1.9/24"], "mac": "no"}},
    }
    found = wishes.request(AttachmentKey("c", "eth0"), ENVIRONMENT | {"CNI_ARGS": "IP=10.64.1.7;MAC=02:00:00:00:00:02"}, config)
    assert (found.mac, found.addresses, found.bandwidth.ingress_rate) == ("02:00:00:00:00:01", ("10.64.1.9",), 8000)
    assert wishes.request(AttachmentKey("c", "eth0"), ENVIRONMENT | {"CNI_ARGS": "IP=10.64.1.7"}, {}).addresses == ("10.64.1.7",)
    assert wishes.dns({"dns": {"domain": "x"}}) == {"domain": "x"}
    assert wishes.dns({"dns": {"domain": "x"}, "runtimeConfig": {"dns": {"servers": ["10.0.0.1"]}}}) == {"nameservers": ["10.0.0.1"]}


@pytest.mark.parametrize(
    "asked", [{"mac": "zz"}, {"ips": ["x"]}, {"bandwidth": {"ingressRate": -1}}, {"ipRanges": [[{}]]}, {"bandwidth": 3}]
)
def test_wishes_that_make_no_sense_are_told_with_their_field(asked):
    with pytest.raises(CniError) as raised:
        wishes.request(AttachmentKey("c", "eth0"), ENVIRONMENT, {"runtimeConfig": asked})
    assert raised.value.code == 7
    assert next(iter(asked)) in raised.value.message
