"""Every verb through the installed executable, as a runtime calls it; and what must fail, fails as the specification says."""

import json
import os
import subprocess

import pytest
from cni_support import sh, until

from moorings_cni import install, server

pytestmark = pytest.mark.netns


@pytest.fixture
def node(fabric):
    return fabric(nodes=1).nodes[0]


def links(node):
    names = [line.split(": ")[1].split("@")[0] for line in node.sh("ip", "-o", "link", "show", "type", "veth").splitlines()]
    return [name for name in names if name != "eth0"]


def test_add_gives_what_it_says(node):
    pod = node.pod().add()
    assert pod.result["cniVersion"] == "1.0.0" and pod.result["ips"][0] == {
        "address": f"{pod.ip}/32", "gateway": "169.254.1.1", "interface": 1,
    }  # fmt: skip
    host, inside = pod.result["interfaces"]
    assert host["name"] in links(node) and "sandbox" not in host
    assert (inside["name"], inside["sandbox"]) == ("eth0", pod.path)
    assert inside["mac"] in sh("ip", "-n", pod.name, "link", "show", "eth0")
    assert "mtu 1450" in sh("ip", "-n", pod.name, "link", "show", "eth0")
    assert "alias ns/" in node.sh("ip", "link", "show", host["name"])


@pytest.mark.parametrize(("version", "family", "mtu"), [("0.3.1", "4", None), ("0.4.0", "4", None), ("1.1.0", None, 1450)])
def test_results_are_written_in_the_version_asked_for(node, version, family, mtu):
    code, result = node.pod().cni("ADD", version=version)
    assert (code, result["cniVersion"]) == (0, version)
    assert result["ips"][0].get("version") == family and result["interfaces"][1].get("mtu") == mtu


def test_adding_twice_fails_and_harms_nothing(node):
    pod = node.pod().add()
    code, error = pod.cni("ADD")
    assert code == 1 and "attached already" in error["msg"] and error["code"] >= 100
    assert pod.cni("CHECK", prevResult=pod.result) == (0, {})


def test_an_interface_that_is_there_already_is_an_error_that_leaves_nothing(node):
    pod = node.pod()
    sh("ip", "-n", pod.name, "link", "add", "eth0", "type", "bridge")
    before = links(node)
    code, error = pod.cni("ADD")
    assert code == 1 and "File exists" in error["msg"]
    assert links(node) == before
    assert node.submit(attachments(node)) == []


async def attachments(node):
    return [list(key) for key in node.exchange.component.network.ipam.attachments]


def test_del_three_times_without_netns_and_for_strangers(node):
    pod = node.pod().add()
    assert [pod.cni("DEL") for _ in range(3)] == [(0, {})] * 3
    assert links(node) == []
    assert node.cni("DEL", "nobody") == (0, {})
    other = node.pod().add()
    sh("ip", "netns", "del", other.name)
    node.fabric.names.remove(other.name)
    assert node.cni("DEL", other.id) == (0, {}), "CNI_NETNS is not even given"
    assert node.submit(attachments(node)) == []


def test_addresses_rest_before_they_are_used_again(node):
    first = node.pod().add()
    assert first.cni("DEL") == (0, {})
    assert node.pod().add().ip != first.ip


TAMPERINGS = {
    "address": "ip -n {pod} address del {ip}/32 dev eth0",
    "pod route default": "ip -n {pod} route del default",
    "default route": "ip -n {pod} route replace default dev lo",
    "pod neighbour": "ip -n {pod} neighbour del 169.254.1.1 dev eth0",
    "MAC": "ip -n {pod} link set eth0 address 02:00:00:00:00:99",
    "down": "ip -n {pod} link set eth0 down",
}


def test_check_sees_every_tampering_inside_the_pod(node):
    for what, command in TAMPERINGS.items():
        pod = node.pod().add()
        assert pod.cni("CHECK", prevResult=pod.result) == (0, {})
        sh(*command.format(pod=pod.name, ip=pod.ip).split())
        code, error = pod.cni("CHECK", prevResult=pod.result)
        assert code == 1 and pod.id[:13] in error["msg"], what


def test_what_is_tampered_with_on_the_node_is_repaired(node):
    pod = node.pod().add()
    host = pod.result["interfaces"][0]["name"]
    for command in (
        f"ip route del {pod.ip}", f"ip neighbour del {pod.ip} dev {host}", f"ip link set {host} down", "ip route flush proto 78",
        "nft flush ruleset", "nft delete table inet moorings_net", "nft flush chain inet moorings_net postrouting",
    ):  # fmt: skip
        node.sh(*command.split())
        until(lambda: pod.cni("CHECK", prevResult=pod.result)[0] == 0, 8, f"repaired after {command}")


def test_check_needs_a_true_prevresult_and_a_known_pod(node):
    pod = node.pod()
    assert pod.cni("CHECK", prevResult={})[0] == 1
    pod.add()
    assert pod.cni("CHECK")[1]["code"] == 7
    lie = pod.result | {"ips": [{"address": "10.9.9.9/32"}]}
    assert pod.ip in pod.cni("CHECK", prevResult=lie)[1]["msg"]


def test_gc_removes_exactly_the_stale(node):
    keep, stale = node.pod().add(), node.pod().add()
    valid = [{"containerID": keep.id, "ifname": "eth0"}, {"containerID": "never-seen", "ifname": "eth0"}]
    assert node.cni("GC", version="1.1.0", ifname="", **{"cni.dev/valid-attachments": valid}) == (0, {})
    assert node.submit(attachments(node)) == [[keep.id, "eth0"]]
    assert keep.cni("CHECK", prevResult=keep.result) == (0, {}) and len(links(node)) == 1
    assert stale.cni("DEL") == (0, {})


def test_an_empty_pool_is_status_50_and_add_says_try_again(fabric):
    net = fabric(nodes=1, start=False)
    node = net.nodes[0]
    node.cidrs = ["10.64.1.0/29"]
    node.register()
    node.start()
    pods = [node.pod().add() for _ in range(6)]
    assert len({pod.ip for pod in pods}) == 6
    code, error = node.cni("STATUS", version="1.1.0")
    assert (code, error["code"]) == (1, 50) and "all" not in error["msg"]
    code, error = node.pod().cni("ADD")
    assert (code, error["code"]) == (1, 11) and "all 6 are in use" in error["msg"]
    assert pods[0].cni("DEL") == (0, {})
    assert node.cni("STATUS", version="1.1.0", ifname="") == (0, {})
    assert node.pod().add().ip == pods[0].ip


def test_version_and_wrong_calls(node):
    code, answer = node.cni("VERSION", version="1.1.0")
    assert (code, answer["supportedVersions"]) == (0, ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
    pod = node.pod()
    cases = [
        (node.cni("ADD"), 4, "CNI_CONTAINERID, CNI_NETNS"),
        (node.cni("NONSENSE"), 4, "NONSENSE"),
        (pod.cni("ADD", version="0.2.0"), 1, "0.2.0"),
        (pod.cni("ADD", version="7.0.0"), 1, "7.0.0"),
        (node.cni("GC", version="1.0.0"), 1, "GC"),
        (node.cni("ADD", "a/b", pod.path), 4, "CNI_CONTAINERID"),
        (node.cni("ADD", "a", pod.path, "interface-too-long"), 4, "CNI_IFNAME"),
        (node.cni("ADD", "a", pod.path, name="-"), 7, "name"),
        (node.cni("ADD", "a", "/run/netns/none"), 8, "/run/netns/none"),
        (node.cni("ADD", "a", node.path), 100, "own network namespace"),
        (pod.cni("ADD", runtimeConfig={"portMappings": [{"hostPort": 99999, "containerPort": 1}]}), 7, "portMappings"),
    ]
    for (code, error), wanted, words in cases:
        assert (code, error.get("code")) == (1, wanted) and words in error["msg"], (error, wanted)
    program = [str(node.root / "cni/bin/moorings-cni")]
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a", "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0"}
    for stdin in ("{", "[]"):
        done = subprocess.run(program, input=stdin, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, json.loads(done.stdout)["code"]) == (1, 6)
    assert node.submit(attachments(node)) == []


def test_loopback_under_its_own_name(node):
    pod = node.pod()
    assert "state DOWN" in sh("ip", "-n", pod.name, "link", "show", "lo")
    code, result = node.cni("ADD", pod.id, pod.path, "lo", plugin="loopback", version="0.3.1")
    assert code == 0 and result["ips"][0]["address"] == "127.0.0.1/8"
    assert "UP" in sh("ip", "-n", pod.name, "link", "show", "lo")
    assert node.cni("DEL", pod.id, pod.path, "lo", plugin="loopback") == (0, {})


def test_without_server_add_asks_to_try_again_and_del_is_kept(node):
    pod, other = node.pod().add(), node.pod().add()
    node.stop()
    code, error = node.pod().cni("ADD")
    assert (code, error["code"]) == (1, 11)
    assert pod.cni("CHECK")[1]["code"] == 11
    assert pod.cni("DEL") == (0, {})
    assert [path.name for path in (node.root / "cni/spool").iterdir()] == [f"{pod.id}.eth0"]
    node.start()
    until(lambda: not list((node.root / "cni/spool").iterdir()), what="spool is done")
    assert node.submit(attachments(node)) == [[other.id, "eth0"]]
    until(lambda: other.cni("CHECK", prevResult=other.result)[0] == 0, what="the other one lives")


def test_what_is_installed(node):
    conflist = json.loads(node.conflist.read_text())
    assert conflist["plugins"][0]["type"] == "moorings-cni" and conflist["cniVersion"] == "1.0.0"
    first = (node.root / "cni/bin/moorings-cni").read_text().splitlines()[0]
    interpreter = first.removeprefix("#!").removesuffix(" -IS")
    assert os.path.realpath(interpreter) == interpreter and "shims" not in interpreter


@pytest.mark.parametrize("perl", ["", install.found_perl()])
def test_the_executable_in_either_language_says_what_the_server_says_and_keeps_a_del_that_nobody_takes(node, perl):
    program = node.root / "cni/bin/moorings-cni"
    install.write(program, install.script(node.run_dir / "cni.sock", node.root / "cni/spool", perl), 0o755)
    pod = node.pod().add(big="x" * 300_000)
    assert pod.cni("ADD")[0] == 1
    assert pod.cni("CHECK", prevResult=pod.result) == (0, {})
    node.stop()
    assert pod.cni("CHECK")[1]["code"] == 11
    assert pod.cni("DEL") == (0, {})
    (kept,) = (node.root / "cni/spool").iterdir()
    assert kept.name == f"{pod.id}.eth0" and kept.stat().st_mode & 0o777 == 0o600
    environment, stdin = server.parse(kept.read_bytes())
    assert environment["CNI_COMMAND"] == "DEL" and json.loads(stdin)["name"] == "moorings"
    node.start()
    until(lambda: links(node) == [] and not list((node.root / "cni/spool").iterdir()), what="the DEL is done")
