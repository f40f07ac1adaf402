"""Blocks of pod addresses: claimed when needed, given back when unused, never two nodes', on a real API in memory."""

import asyncio
import random
from contextlib import asynccontextmanager
from itertools import islice

import pytest

from moorings_cni import wiring
from moorings_cni.ipam import Ipam
from moorings_cni.journal import Journal
from moorings_cni.pool import Blocks, Pool, parse, wish
from moorings_core.agent.network import peer_of
from moorings_core.api.context import SYSTEM
from moorings_core.api.core import ApiCore
from moorings_core.client.local import LocalClient
from moorings_core.client.resources import CONFIG_MAPS, NAMESPACES, NODES
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.network import CLAIMS, RANGES, AttachmentKey, NetworkError, NotReady, PodRequest
from moorings_core.store.memory import MemoryStore

POOL = Pool(["10.64.0.0/26", "fd00:64::/64"], 28)
FIRST, SECOND = ("10.64.0.0/28", "fd00:64::/124"), ("10.64.0.16/28", "fd00:64::10/124")


class Node:
    """A node's addresses on its disk, and what keeps them."""

    def __init__(self, client, name, path, pool=POOL, elsewhere=None):
        self.client, self.name, self.path, self.pool = client, name, path / name, pool
        self.elsewhere = elsewhere or {}
        self.number = 0
        self.start()

    def start(self):
        self.ipam = Ipam(Journal(self.path), "boot")
        self.blocks = Blocks(self.client, self.name, self.pool, lambda: self.elsewhere)

    async def keep(self):
        await self.blocks.keep(await self.client.get(NODES, self.name), self.ipam)

    def take(self, count=1):
        keys = []
        for _ in range(count):
            self.number += 1
            key = AttachmentKey(f"c{self.number}", "eth0")
            slot, addresses = self.ipam.reserve(key)
            self.ipam.sync(self.ipam.record(wiring.plan(PodRequest(key, "/n"), slot, addresses, 1450)))
            keys.append(key)
        return keys

    def addresses(self):
        return [address for a in self.ipam.attachments.values() for address in a.addresses]

    async def announced(self):
        node = await self.client.get(NODES, self.name)
        return parse(node["metadata"].get("annotations", {}).get(RANGES, ""))


@asynccontextmanager
async def api(tmp_path, *names):
    store = await MemoryStore.open(tmp_path, {})
    core = ApiCore(ClusterConfig(), store)
    await core.cache.load()
    following = asyncio.create_task(core.cache.follow())
    client = LocalClient(core, SYSTEM)
    await client.create(NAMESPACES, {"metadata": {"name": "kube-system"}})
    for name in names:
        await client.create(NODES, {"metadata": {"name": name}})
    try:
        yield client
    finally:
        await store.close()
        await following


async def claims(client):
    return {name: parse(text) for name, text in (await client.get(CONFIG_MAPS, CLAIMS, "kube-system"))["data"].items()}


def test_a_pool_is_cut_in_blocks_of_one_size_in_every_family():
    assert list(islice(POOL.blocks(), 2)) == [FIRST, SECOND]
    assert len(list(POOL.blocks())) == 4, "as many as the smaller range has"
    assert [block[0] for block in Pool(["10.0.0.0/30", "10.1.0.0/29"], 30).blocks()] == ["10.0.0.0/30", "10.1.0.0/30", "10.1.0.4/30"]
    assert next(POOL.free({FIRST[1]}, ["10.64.0.17/32"])) == ("10.64.0.32/28", "fd00:64::20/124")
    for cidrs, size in ((["10.0.0.0/27"], 26), (["10.0.0.0/8"], 31), (["10.0.0.0/8"], 10), ([], 26), (["10.0.0.0/8", "fd00::/126"], 26)):
        with pytest.raises(NetworkError, match="blockSize"):
            Pool(cidrs, size)


async def test_a_node_claims_ahead_and_gives_back_what_nobody_uses(tmp_path):
    async with api(tmp_path, "a", "b") as client:
        a, b = Node(client, "a", tmp_path), Node(client, "b", tmp_path)
        with pytest.raises(NotReady):
            a.take()
        await a.keep()
        await b.keep()
        assert await a.announced() == [FIRST] and await b.announced() == [SECOND]
        assert peer_of(await client.get(NODES, "b")).pod_cidrs == SECOND, "what peers send to"
        keys = a.take(12)
        assert wish(a.ipam, 16) == (False, [])
        keys += a.take()
        assert wish(a.ipam, 16) == (True, []), "while there is still one"
        await a.keep()
        assert await a.announced() == [FIRST, ("10.64.0.32/28", "fd00:64::20/124")]
        more = a.take(3)
        assert a.ipam.get(more[-1]).addresses == ("10.64.0.34", "fd00:64::22")
        for key in more:
            a.ipam.release(key)
        await a.keep()
        assert len(await a.announced()) == 2, "too few would be left"
        for key in keys[:4]:
            a.ipam.release(key)
        await a.keep()
        assert await a.announced() == [FIRST] == (await claims(client))["a"]
        for key in keys[4:]:
            a.ipam.release(key)
        await a.keep()
        assert await a.announced() == [FIRST], "the last one stays: the next pod is not to wait"


async def test_blocks_and_addresses_survive_the_agent_and_the_claim_the_disk(tmp_path):
    async with api(tmp_path, "a") as client:
        a = Node(client, "a", tmp_path)
        await a.keep()
        a.take(14)
        await a.keep()
        a.take(3)
        before, blocks = a.ipam.attachments, a.ipam.blocks
        a.start()
        assert a.ipam.attachments == before and a.ipam.blocks == blocks and a.ipam.free == 11
        await a.keep()
        assert len(set(a.addresses())) == 34
        a.path.unlink()
        a.start()
        await a.keep()
        assert a.ipam.blocks == blocks
        await a.keep()
        assert a.ipam.blocks == blocks[:1] == tuple(await a.announced()), "its own again, but for what it does not need"
        assert (await claims(client))["a"] == [FIRST]


async def test_a_node_that_is_gone_has_no_block_any_more_and_one_that_is_only_unknown_keeps_it(tmp_path):
    async with api(tmp_path, "a", "b", "c") as client:
        for name in ("a", "b"):
            await Node(client, name, tmp_path).keep()
        await client.delete(NODES, "a")
        c = Node(client, "c", tmp_path)
        await c.keep()
        assert await claims(client) == {"b": [SECOND], "c": [FIRST]}


async def test_ranges_that_nodes_have_by_their_spec_are_nobodys_block(tmp_path):
    async with api(tmp_path, "a") as client:
        a = Node(client, "a", tmp_path, elsewhere={"old": ["10.64.0.0/27"]})
        await a.keep()
        assert await a.announced() == [("10.64.0.32/28", "fd00:64::20/124")]


async def test_a_pool_that_is_used_up_says_so_and_serves_again_when_a_block_comes_back(tmp_path):
    async with api(tmp_path, *"abcde") as client:
        nodes = {name: Node(client, name, tmp_path) for name in "abcde"}
        for name in "abcd":
            await nodes[name].keep()
        with pytest.raises(NetworkError, match="no block"):
            await nodes["e"].keep()
        nodes["a"].take(14)
        await nodes["a"].keep()
        with pytest.raises(NotReady, match="all 14 are in use"):
            nodes["a"].take()
        await client.delete(NODES, "b")
        await nodes["e"].keep()
        assert await nodes["e"].announced() == [SECOND]


async def test_a_crash_between_two_steps_leaves_no_block_behind(tmp_path):
    async with api(tmp_path, "a") as client:
        a = Node(client, "a", tmp_path)
        await a.keep()
        keys = a.take(14)
        await a.keep()
        for key in keys:
            a.ipam.release(key)
        for block in wish(a.ipam, 16)[1]:  # dropped and announced; then it dies
            assert a.ipam.drop(block)
        await client.patch(NODES, "a", "", {"metadata": {"annotations": {RANGES: ",".join(a.ipam.blocks[0])}}})
        a.start()
        await a.keep()
        await a.keep()
        assert (await claims(client))["a"] == await a.announced() == list(a.ipam.blocks) and len(a.ipam.blocks) == 1


async def test_no_two_nodes_have_a_block_whatever_happens_in_whatever_order(tmp_path):
    chance = random.Random(5)
    async with api(tmp_path, *"abcd") as client:
        pool = Pool(["10.64.0.0/26"], 29)
        nodes = [Node(client, name, tmp_path, pool) for name in "abcd"]
        held = {node.name: [] for node in nodes}

        async def live(node):
            for _ in range(60):
                match chance.choice(("take", "take", "free", "keep", "restart")):
                    case "take":
                        try:
                            held[node.name] += node.take()
                        except NotReady:
                            pass
                    case "free" if held[node.name]:
                        node.ipam.release(held[node.name].pop(chance.randrange(len(held[node.name]))))
                    case "restart":
                        node.start()
                    case _:
                        try:
                            await node.keep()
                        except NetworkError:
                            assert not node.ipam.blocks
                given = [cidr for other in nodes for block in other.ipam.blocks for cidr in block]
                assert len(given) == len(set(given))
                used = [address for other in nodes for address in other.addresses()]
                assert len(used) == len(set(used))
                await asyncio.sleep(0)

        await asyncio.gather(*map(live, nodes))
        for node in nodes:
            for key in held[node.name]:
                node.ipam.release(key)
            await node.keep()
            await node.keep()
        assert all(len(blocks) <= 1 for blocks in (await claims(client)).values()), "all given back but each one's last"


async def test_ranges_of_the_spec_come_before_blocks_and_sticky_names_end_with_their_block(tmp_path):
    ipam = Ipam(Journal(tmp_path / "j"), "1", sticky=True)
    ipam.add(FIRST)
    ipam.add(FIRST)
    ipam.add(SECOND)
    key = AttachmentKey("c", "eth0")
    slot, addresses = ipam.reserve(key, addresses=["10.64.0.20"], pod="ns/db-0")
    assert addresses == ("10.64.0.20", "fd00:64::14") and not ipam.drop(SECOND)
    ipam.record(wiring.plan(PodRequest(key, "/n", "ns/db-0"), slot, addresses, 1450))
    ipam.release(key)
    assert ipam.drop(SECOND) and ipam.drop(SECOND) and ipam.reserve(key, pod="ns/db-0")[1][0] == "10.64.0.1"
    with pytest.raises(NetworkError, match="not lent"):
        ipam.add(SECOND)
        ipam.keep_gateway()
    ipam.use(["10.65.0.0/24"])
    assert ipam.cidrs == ("10.65.0.0/24",) == Ipam(Journal(tmp_path / "j"), "1", sticky=True).cidrs
