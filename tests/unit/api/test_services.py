"""Addresses of Services: one is taken by what is stored, and by nothing else."""

from __future__ import annotations

import asyncio

import pytest

from moorings_core.api.context import Context, WriteOptions
from moorings_core.api.core import ApiCore
from moorings_core.api.server import ApiServer, ServerOptions
from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.cluster import ClusterConfig
from moorings_core.ports.errors import Invalid
from moorings_core.ports.objects import Key, Object, Resource
from moorings_core.store.memory import MemoryStore

SERVICES = Resource("", "v1", "services", "Service", True)


@pytest.fixture
async def core(tmp_path):
    signer = TokenSigner.load_or_create(tmp_path / "key", "https://x")
    server = ApiServer(ServerOptions(ClusterConfig(), "", signer, "127.0.0.1"), MemoryStore())
    await server.start("127.0.0.1", 0)
    yield server.core
    await server.close()


async def make(core: ApiCore, name: str, *, dry: bool = False, **spec: object) -> Object:
    body = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}
    return await core.writer.create(core.kind(SERVICES), "default", body, Context(options=WriteOptions(dry_run=dry)))


async def remove(core: ApiCore, name: str) -> None:
    await core.writer.delete(core.kind(SERVICES), Key("default", name), Context())


async def test_what_is_only_tried_takes_no_address(core):
    for _ in range(2):
        tried = await make(core, "a", dry=True, clusterIP="10.96.1.1", type="NodePort", ports=[{"port": 80, "nodePort": 30123}])
        assert tried["spec"]["clusterIP"] == "10.96.1.1"
    assert (await make(core, "b", clusterIP="10.96.1.1"))["spec"]["clusterIP"] == "10.96.1.1"


async def test_what_is_refused_takes_no_address(core):
    with pytest.raises(Invalid):
        await make(core, "a", clusterIP="10.96.1.1", ports=[])
    assert await make(core, "b", clusterIP="10.96.1.1")


async def test_an_address_and_a_port_are_free_again_when_their_service_is_gone(core):
    taken = {"clusterIP": "10.96.1.1", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30123}]}
    await make(core, "a", **taken)
    with pytest.raises(Invalid, match=r"10\.96\.1\.1: provided IP is already allocated"):
        await make(core, "b", clusterIP="10.96.1.1")
    with pytest.raises(Invalid, match="30123: provided port is already allocated"):
        await make(core, "b", type="NodePort", ports=[{"port": 80, "nodePort": 30123}])
    await remove(core, "a")
    assert await make(core, "b", **taken)


async def test_services_made_at_once_have_addresses_of_their_own(core):
    made = await asyncio.gather(*(make(core, f"s{n}") for n in range(50)))
    assert len({service["spec"]["clusterIP"] for service in made}) == 50
