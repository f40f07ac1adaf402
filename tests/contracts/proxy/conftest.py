"""The world that the proxy contract runs in."""

import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from moorings_core.ports.proxy import Proxy, ProxySettings
from moorings_proxy.nftables import NftablesProxy

path = Path(__file__).parents[2] / "netns" / "proxy" / "netlab.py"
spec = importlib.util.spec_from_file_location("netlab", path)
assert spec and spec.loader
netlab = sys.modules.setdefault("netlab", importlib.util.module_from_spec(spec))
if not hasattr(netlab, "Lab"):
    spec.loader.exec_module(netlab)

BACKENDS = {"nftables": NftablesProxy}


@pytest.fixture
def lab() -> Iterator[object]:
    with netlab.lab() as made:
        yield made


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend under test."""
    return str(request.param)


@pytest.fixture
def make(backend: str, lab: object) -> Callable[[], Proxy]:
    """A function that makes a new proxy for the node of the lab: calling it twice is a restart."""
    settings = ProxySettings(("10.64.0.0/16", "fd64::/64"), ("10.96.0.0/16", "fd96::/112"), ("172.30.0.2", "fd30::2"), lab.node)
    return lambda: BACKENDS[backend](settings)


@pytest.fixture
async def proxy(make: Callable[[], Proxy]) -> AsyncIterator[Proxy]:
    proxy = make()
    yield proxy
    await proxy.close()
