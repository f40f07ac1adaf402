"""Transport `routed` with BGP: nodes on different segments, a real router (bird2 in a namespace of its own) between them."""

import subprocess

import pytest
from cni_support import Fabric, sh, until
from tests.traffic import Echo, ask_tcp, ask_udp

from moorings_cni.bgp import SEARCH
from moorings_core.kernel import sysctl
from moorings_core.kernel.namespaces import call_in
from moorings_core.ports.network import NetworkError

pytestmark = pytest.mark.netns
ROUTER = """
router id 192.168.77.254;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp nodes1 { local 192.168.77.254 as 64513; neighbor range 192.168.77.0/24 as 64512; hold time 9; dynamic name "a"; passive;
    ipv4 { import all; export all; next hop self; }; }
protocol bgp nodes2 { local 192.168.78.254 as 64513; neighbor range 192.168.78.0/24 as 64512; hold time 9; dynamic name "b"; passive;
    ipv4 { import all; export all; next hop self; }; }
"""


class Router:
    """A namespace with an address on both segments, and bird."""

    def __init__(self, fabric: Fabric) -> None:
        self.path = fabric._plug("rt", "192.168.77.254/24", "")
        self.directory = fabric.directory
        sh("ip", "-n", self.path.rsplit("/", 1)[1], "address", "add", "192.168.78.254/24", "dev", "eth0")
        call_in(self.path, lambda: sysctl.ensure("net/ipv4/ip_forward", 1))
        call_in(self.path, lambda: sysctl.ensure("net/ipv4/conf/eth0/send_redirects", 0))
        (self.directory / "router.conf").write_text(ROUTER)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["nsenter", f"--net={self.path}", "bird", "-f", "-c", "router.conf", "-s", "router.ctl"]
        self.process = subprocess.Popen(command, cwd=self.directory, env={"PATH": SEARCH}, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def routes(self) -> str:
        return sh("nsenter", f"--net={self.path}", "ip", "route")


@pytest.fixture
def net(fabric):
    made = fabric(backend="vxlan", start=False)
    made.with_config(parameters={"bgp": {"peers": [{"address": "192.168.77.254", "asn": 64513}]}})
    two = made.nodes[1]
    two.sh("ip", "address", "del", f"{two.address}/24", "dev", "eth0")
    two.address = "192.168.78.2"
    two.sh("ip", "address", "add", "192.168.78.2/24", "dev", "eth0")
    for node, gateway in zip(made.nodes, ("192.168.77.254", "192.168.78.254"), strict=True):
        node.sh("ip", "route", "add", "default", "via", gateway)
    router = Router(made)
    for node, gateway in zip(made.nodes, ("192.168.77.254", "192.168.78.254"), strict=True):
        made.with_config(parameters={"bgp": {"peers": [{"address": gateway, "asn": 64513}]}})
        node.register()
        node.start()
    made.settled("vxlan")
    yield made, router
    router.stop()
    for node in made.nodes:
        node.stop()
        subprocess.run(["birdc", "-s", str(node.run_dir / "bgp/bird.ctl"), "down"], check=False, env={"PATH": SEARCH}, capture_output=True)


def test_nodes_on_two_segments_reach_each_others_pods_by_the_routers_word_and_a_swap_loses_nothing(net):
    made, router = net
    one, two = made.nodes
    a, b = one.pod().add(), two.pod().add()
    echo = Echo(b.path)
    made.swap("routed")
    error = until(lambda: one.annotations().get("moorings.dev/network-error"), what="nobody has told a way")
    assert "no router has told a way to the pods of node node2" in error
    assert ask_tcp(a.path, b.ip, size=100_000) == a.ip, "pods reach each other as before meanwhile"
    router.start()
    made.settled("routed", 30)
    assert "proto bird" in one.sh("ip", "route", "get", "fibmatch", b.ip)
    assert ask_tcp(a.path, b.ip, size=1_000_000) == a.ip, "no masquerade on the way"
    assert "10.64.1.0/24 via 192.168.77.1" in router.routes() and "10.64.2.0/24 via 192.168.78.2" in router.routes()
    assert ask_udp(router.path, b.ip), "routers reach pods"
    one.stop()  # agent away: bird stays
    assert ask_udp(a.path, b.ip) == a.ip
    assert "10.64.1.0/24" in router.routes()
    one.start()
    made.swap("vxlan")
    made.settled("vxlan")
    until(lambda: "10.64.1.0/24" not in router.routes(), what="the router forgets")
    assert ask_tcp(a.path, b.ip, size=100_000) == a.ip
    echo.close()


@pytest.mark.parametrize(
    "given", [True, {"peers": []}, {"peers": [{"address": "x", "asn": 1}]}, {"peers": [{"address": "10.0.0.1", "asn": 0}]},
              {"peers": [{"address": "10.0.0.1", "asn": 1, "password": '"'}]}],
)  # fmt: skip
def test_what_cannot_be_configured_is_told_with_its_field(given):
    from moorings_cni.bgp import speaker_of

    with pytest.raises(NetworkError, match=r"network\.parameters\.bgp"):
        speaker_of({"bgp": given})
