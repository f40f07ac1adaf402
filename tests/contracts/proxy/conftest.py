"""The world that the proxy contract runs in: made once, as making it takes longer than most tests; every test leaves it bare."""

import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from moorings_core.kernel import bpf
from moorings_core.kernel.conntrack import Conntrack
from moorings_core.kernel.ipvs import MISSING, Ipvs, is_there
from moorings_core.ports.proxy import Proxy, ProxySettings
from moorings_proxy.ebpf import EbpfProxy
from moorings_proxy.ebpf.hooks import Hooks
from moorings_proxy.ebpf.source import missing
from moorings_proxy.ipvs import IpvsProxy
from moorings_proxy.nftables import NftablesProxy

path = Path(__file__).parents[2] / "netns" / "proxy" / "netlab.py"
spec = importlib.util.spec_from_file_location("netlab", path)
assert spec and spec.loader
netlab = sys.modules.setdefault("netlab", importlib.util.module_from_spec(spec))
if not hasattr(netlab, "Lab"):
    spec.loader.exec_module(netlab)

BACKENDS = {"nftables": NftablesProxy, "ipvs": IpvsProxy, "ebpf": EbpfProxy}


@pytest.fixture(scope="session")
def world() -> Iterator[object]:
    """The world with three pods, of which two serve."""
    with netlab.lab() as made:
        made.three = [made.pod() for _ in range(3)]
        made.serve("p1")
        made.serve("p2")
        yield made


@pytest.fixture
def lab(world: object) -> Iterator[object]:
    """The world, without a trace of other tests."""
    servers = list(world.servers)
    yield world
    for server in world.servers[len(servers) :]:
        server.close()
    del world.servers[len(servers) :]
    world.run("node", "nft", "flush ruleset")
    _forget(world.node)


@pytest.fixture
def pods(lab: object) -> list[tuple[str, str, str]]:
    """Two serving pods and a third that is only a client, each as (name, IPv4, IPv6)."""
    return lab.three


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend under test."""
    if request.param == "ipvs" and not is_there():
        pytest.skip(f"{MISSING}; `make test-vm` runs this in a machine that has them")
    if request.param == "ebpf" and (lacking := missing()):
        pytest.skip(lacking)
    return str(request.param)


@pytest.fixture
def cgroup(backend: str, lab: object) -> Iterator[str]:
    """The node's cgroup, for the backend that works by it."""
    if backend != "ebpf":
        yield ""
        return
    with netlab.cgroup(lab) as name:
        yield name
        root = bpf.cgroups()
        assert root
        Hooks(root / name).remove()


@pytest.fixture
def make(backend: str, lab: object, cgroup: str) -> Callable[[], Proxy]:
    """A function that makes a new proxy for the node of the lab: calling it twice is a restart."""
    pods, services = ("10.64.0.0/16", "fd64::/64"), ("10.96.0.0/16", "fd96::/112")
    settings = ProxySettings(pods, services, ("172.30.0.2", "fd30::2"), lab.node, cgroup)
    return lambda: BACKENDS[backend](settings)


@pytest.fixture
async def proxy(make: Callable[[], Proxy]) -> AsyncIterator[Proxy]:
    proxy = make()
    yield proxy
    await proxy.close()


def _forget(netns: str) -> None:
    """Remove tracked flows and virtual servers of a test."""
    conntrack = Conntrack(netns)
    for family, protocol in ((f, p) for f in (2, 10) for p in (6, 17, 132)):
        conntrack.delete(conntrack.flows(family, protocol))
    conntrack.close()
    if is_there():
        ipvs = Ipvs(netns)
        for virtual in ipvs.virtuals():
            ipvs.delete_virtual(virtual)
        ipvs.close()
