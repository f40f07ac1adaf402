"""Every installed transport keeps the promises of `ports.network.Transport`."""

import itertools
import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from moorings_core.config import backends
from moorings_core.kernel.namespaces import call_in
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.network import NetworkError, Peer
from moorings_core.ports.node import NodeContext

pytestmark = pytest.mark.netns
counter = itertools.count()
OWN = Peer("own", ("10.77.0.1",), ("10.64.1.0/24",))
PEERS = [Peer(f"peer{i}", (f"10.77.0.{i}",), (f"10.64.{i}.0/24",)) for i in (2, 3)]
NAMES = sorted(name for name in backends.installed("network") if hasattr(backends.load("network", name), "transport"))


@pytest.fixture
def node() -> Iterator[str]:
    name = f"tp{os.getpid()}-{next(counter)}"
    for words in (
        f"netns add {name}", f"-n {name} link add eth0 type bridge", f"-n {name} address add 10.77.0.1/24 dev eth0",
        f"-n {name} link set eth0 up", f"-n {name} link set lo up",
    ):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


class Driver:
    """Calls a transport inside the node's namespace and looks at what the kernel has."""

    def __init__(self, name: str, node: str) -> None:
        context = NodeContext("own", OWN.addresses, None, ClusterConfig(), Path("/none"), Path("/none"))  # type: ignore[arg-type]
        self.transport = backends.load("network", name).transport(context, {})
        self.node = node

    def do(self, verb: str, *args: object) -> None:
        import asyncio

        async def call() -> None:
            await getattr(self.transport, verb)(*args)

        call_in(f"/run/netns/{self.node}", lambda: asyncio.run(call()))

    def targets(self) -> set[str]:
        done = subprocess.run(["ip", "-n", self.node, "-j", "route"], capture_output=True, text=True, check=True)
        return {route["dst"] for route in json.loads(done.stdout) if route["dst"].startswith("10.64.")}

    def state(self) -> str:
        words = (["link"], ["route", "show", "table", "main"], ["neighbour", "show", "nud", "permanent"])
        run = [subprocess.run(["ip", "-n", self.node, *w], capture_output=True, text=True, check=True) for w in words]
        return "".join(done.stdout for done in run)


@pytest.fixture(params=NAMES)
def driver(request: pytest.FixtureRequest, node: str) -> Driver:
    return Driver(request.param, node)


def test_accepting_sends_nothing(driver):
    driver.do("accept", OWN, PEERS)
    assert driver.targets() == set()


def test_carrying_is_exact_and_level_triggered(driver):
    driver.do("accept", OWN, PEERS)
    driver.do("carry", OWN, PEERS)
    assert driver.targets() == {"10.64.2.0/24", "10.64.3.0/24"}
    before = driver.state()
    driver.do("accept", OWN, PEERS)
    driver.do("carry", OWN, PEERS)
    assert driver.state() == before, "again is nothing"
    driver.do("carry", OWN, PEERS[:1])
    assert driver.targets() == {"10.64.2.0/24"}
    driver.do("carry", OWN, [])
    assert driver.targets() == set()


def test_ranges_come_and_go_and_move_from_node_to_node(driver):
    """As blocks of pod addresses do: a node has several, gets another one's, and gives its own away."""
    blocks = [f"10.64.9.{start}/28" for start in (0, 16, 32, 48)]
    two, three = (replace(peer, pod_cidrs=()) for peer in PEERS)

    def give(own: list[str], second: list[str], third: list[str]) -> None:
        mine = replace(OWN, pod_cidrs=tuple(own))
        peers = [p for p in (replace(two, pod_cidrs=tuple(second)), replace(three, pod_cidrs=tuple(third))) if p.pod_cidrs]
        driver.do("accept", mine, peers)
        driver.do("carry", mine, peers)
        assert driver.targets() == {*second, *third}

    give(blocks[:1], blocks[1:3], blocks[3:])
    give(blocks[:2], blocks[2:3], blocks[3:])
    give(blocks[1:2], blocks[2:3], [blocks[0], blocks[3]])
    give([], blocks[:3], blocks[3:])
    give(blocks[3:], blocks[:2], blocks[2:3])
    before = driver.state()
    give(blocks[3:], blocks[:2], blocks[2:3])
    assert driver.state() == before, "again is nothing"


def test_withdrawing_leaves_nothing_and_may_be_repeated(driver):
    before = driver.state()
    driver.do("withdraw")
    driver.do("accept", OWN, PEERS)
    driver.do("carry", OWN, [])
    driver.do("withdraw")
    driver.do("withdraw")
    assert driver.state() == before


def ip(node: str, *words: str) -> None:
    subprocess.run(["ip", "-n", node, *words], check=True)


@contextmanager
def listening(node: str) -> Iterator[IO[bytes]]:
    """A monitor of the node's routes that has shown that it listens."""
    with subprocess.Popen(["ip", "-n", node, "monitor", "route"], stdout=subprocess.PIPE, bufsize=0) as monitor:
        try:
            assert monitor.stdout
            for number in range(100):
                ip(node, "route", "add", f"10.98.{number}.0/24", "dev", "eth0")
                if select.select([monitor.stdout], [], [], 0.1)[0]:
                    break
            else:
                pytest.fail("ip monitor shows nothing")
            yield monitor.stdout
        finally:
            monitor.kill()


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(NAMES, 2)))
def test_routes_are_taken_over_without_a_gap(old, new, node):
    first, second = Driver(old, node), Driver(new, node)
    first.do("accept", OWN, PEERS)
    first.do("carry", OWN, PEERS)
    second.do("accept", OWN, PEERS)
    with listening(node) as monitor:
        second.do("carry", OWN, PEERS)
        ip(node, "route", "add", "10.99.0.0/24", "dev", "eth0")
        lines = list(itertools.takewhile(lambda line: "10.99" not in line, iter(lambda: monitor.readline().decode(), "")))
    assert not [line for line in lines if line.startswith("Deleted 10.64.")], lines
    first.do("withdraw")
    assert second.targets() == {"10.64.2.0/24", "10.64.3.0/24"}


def test_without_a_link_between_nodes_it_says_so(driver):
    with pytest.raises(NetworkError, match=r"no interface of this node has one of its addresses: 10\.9\.9\.9"):
        driver.do("accept", Peer("own", ("10.9.9.9",), OWN.pod_cidrs), PEERS)
