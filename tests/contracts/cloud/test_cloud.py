"""What every cloud backend must do. A new backend adds its entry to OFFERS; an installed one that is missing there fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.netns.proxy.memory import MemoryClient

from moorings_core.client.resources import SERVICES
from moorings_core.config.backends import installed, load
from moorings_core.ports.cluster import CloudConfig, ClusterConfig
from moorings_core.ports.errors import MooringsError
from moorings_core.ports.node import NodeContext

PARTS = ("instances", "routes", "load_balancers", "disks")


@dataclass(frozen=True)
class Offer:
    """How a backend is configured for the suite. addresses: how many load balancers it can serve, 0 for a cloud without."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    addresses: int = 0
    wrong: Mapping[str, Any] = field(default_factory=dict)


OFFERS = {
    "none": Offer(),
    "metal": Offer({"pools": ["192.0.2.10-192.0.2.11"]}, addresses=2, wrong={"pools": ["192.0.2.10-192.0.2.1"]}),
}
SERVING = [name for name, offer in OFFERS.items() if offer.addresses]


def config(name: str, parameters: Mapping[str, Any] | None = None) -> ClusterConfig:
    return ClusterConfig(cloud=CloudConfig(name, OFFERS[name].parameters if parameters is None else parameters))


@contextlib.asynccontextmanager
async def controlled(name: str, client: MemoryClient) -> AsyncIterator[None]:
    """The backend's controller, run as the server runs it."""
    controller = load("cloud", name).controller(client, config(name))
    task = asyncio.create_task(controller.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ask(client: MemoryClient, name: str, **spec: Any) -> None:
    ports = [{"port": 80, "protocol": "TCP"}]
    await client.create(SERVICES, {"metadata": {"name": name, "namespace": "d"}, "spec": {"type": "LoadBalancer", "ports": ports, **spec}})


async def addresses(client: MemoryClient, name: str) -> list[str]:
    service = await client.get(SERVICES, name, "d")
    return [i["ip"] for i in service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()]


async def given(client: MemoryClient, name: str) -> list[str]:
    """Return a Service's addresses as soon as it has some; the test's own timeout bounds it."""
    while not (found := await addresses(client, name)):
        async with client.changed:
            await client.changed.wait()
    return found


def test_every_installed_cloud_is_under_contract():
    assert set(installed("cloud")) == set(OFFERS)


@pytest.mark.parametrize("name", OFFERS)
async def test_what_is_there_needs_no_change(name):
    backend = load("cloud", name)
    for part in filter(None, (getattr(backend, part) for part in PARTS)):
        actual = await part.actual()
        assert list(part.plan(actual, actual)) == []


@pytest.mark.parametrize("name", OFFERS)
def test_halves_are_made_without_touching_anything_or_are_none(name):
    backend, client = load("cloud", name), MemoryClient()
    context = NodeContext("n1", ("192.0.2.1",), client, config(name), Path("/nowhere"), Path("/nowhere"))
    for half in (backend.node_component(context), backend.controller(client, config(name))):
        assert half is None or asyncio.iscoroutinefunction(half.run)
    assert client.writes == 0


@pytest.mark.parametrize("name", [name for name, offer in OFFERS.items() if offer.wrong])
def test_wrong_parameters_are_refused_by_field_before_anything_runs(name):
    with pytest.raises(MooringsError, match=r"cloud\.parameters\."):
        load("cloud", name).controller(MemoryClient(), config(name, OFFERS[name].wrong))


@pytest.mark.parametrize("name", [name for name, offer in OFFERS.items() if not offer.addresses])
def test_a_cloud_without_load_balancers_leaves_services_pending(name):
    assert load("cloud", name).controller(MemoryClient(), config(name)) is None
    assert load("cloud", name).load_balancers is None


@pytest.mark.parametrize("name", SERVING)
async def test_services_get_different_addresses_and_keep_them_over_a_restart_without_a_write(name):
    client = MemoryClient()
    async with controlled(name, client):
        await ask(client, "one")
        first = await given(client, "one")
    async with controlled(name, client):
        await ask(client, "two")
        assert set(await given(client, "two")).isdisjoint(first)
        assert await addresses(client, "one") == first
    touched = [event.object["metadata"]["name"] for plural, _, event in client.events if plural == "services" and event.type == "MODIFIED"]
    assert touched == ["one", "two"], "each was written once"


@pytest.mark.parametrize("name", SERVING)
async def test_services_of_other_types_and_classes_are_left_alone(name):
    client = MemoryClient()
    await ask(client, "plain", type="ClusterIP")
    await ask(client, "foreign", loadBalancerClass="example.org/other")
    async with controlled(name, client):
        await ask(client, "mine")
        await given(client, "mine")
    assert await addresses(client, "plain") == await addresses(client, "foreign") == []


@pytest.mark.parametrize("name", SERVING)
async def test_who_comes_when_all_is_given_away_waits_until_somebody_stops_asking(name):
    client, most = MemoryClient(), OFFERS[name].addresses
    async with controlled(name, client):
        for number in range(most):
            await ask(client, f"s{number}")
            await given(client, f"s{number}")
        await ask(client, "late")
        before = await addresses(client, "s0")
        assert await addresses(client, "late") == []
        await client.patch(SERVICES, "s0", "d", {"spec": {"type": "ClusterIP"}})
        assert await given(client, "late") == before
        assert await addresses(client, "s0") == []
