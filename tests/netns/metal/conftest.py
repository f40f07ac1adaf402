"""The same world and API as the proxy's tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

if "moorings_proxy_conftest" not in sys.modules:
    spec = importlib.util.spec_from_file_location("moorings_proxy_conftest", Path(__file__).parents[1] / "proxy" / "conftest.py")
    assert spec and spec.loader
    sys.modules["moorings_proxy_conftest"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["moorings_proxy_conftest"])

netlab = sys.modules["netlab"]
client = sys.modules["moorings_proxy_conftest"].client


class Segment(netlab.Net):
    """Nodes and a client on one switch: n1 = 172.31.0.11, n2 = 172.31.0.12, client = 172.31.0.1."""

    def build(self):
        self.servers = []
        self.add("switch")
        self.ip("switch", "link add name sw0 type bridge", "link set sw0 up")
        for number, name in ((1, "client"), (11, "n1"), (12, "n2")):
            self.add(name)
            self.ip("switch", f"link add {name} type veth peer name eth0 netns {self.prefix}-{name}", f"link set {name} master sw0 up")
            self.ip(name, f"addr add 172.31.0.{number}/24 dev eth0", "link set eth0 up", "route add default via 172.31.0.1")
            self.sysctl(name, "net.ipv4.ip_forward=1")

    def serve(self, name):
        self.servers.append(netlab.Server(self.path(name), name, 8080))

    def mac(self, name):
        return self.run(name, "cat", "/sys/class/net/eth0/address").strip()

    def neighbour(self, address):
        words = self.run("client", "ip", "neigh", "show", address).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""

    def close(self):
        for server in self.servers:
            server.close()
        super().close()


@pytest.fixture
def segment():
    made = Segment()
    try:
        made.build()
        yield made
    finally:
        made.close()
