"""Addresses and node ports of Services: unique, recorded with the Service, given back; also with two servers on one store."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from moorings_core.api.bootstrap import create_missing, objects
from moorings_core.api.context import Context, User, WriteOptions
from moorings_core.api.core import ApiCore
from moorings_core.client.local import LocalClient
from moorings_core.client.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES
from moorings_core.ports.client import Create, Delete
from moorings_core.ports.cluster import ClusterConfig, ServicesConfig
from moorings_core.ports.errors import AlreadyExists, ApiError, Invalid
from moorings_core.ports.objects import Key
from moorings_core.ports.store import DeleteRecord
from moorings_core.store.memory import MemoryStore

USER = User("test", ("system:masters",))
BOTH = ("10.97.0.0/16", "fd97::/112")


@contextlib.asynccontextmanager
async def api(cidrs=BOTH, store=None, node_ports=(30000, 32767), bootstrap=True):
    config = ClusterConfig(services=ServicesConfig(cidrs=cidrs, node_ports=node_ports))
    core = ApiCore(config, store or MemoryStore())
    await core.cache.load()
    follower = asyncio.create_task(core.cache.follow())
    try:
        if bootstrap:
            await create_missing(LocalClient(core, USER), objects(config, "", "192.0.2.1", 6443))
        yield core
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def create(core, name="x", dry_run=False, **spec):
    body = {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}
    return await core.writer.create(core.kind(SERVICES), "default", body, Context(options=WriteOptions(dry_run=dry_run)))


async def patch(core, name="x", **spec):
    return await core.writer.patch(core.kind(SERVICES), Key("default", name), {"spec": spec}, "merge", Context())


async def delete(core, name="x"):
    await core.writer.delete(core.kind(SERVICES), Key("default", name), Context())


def recorded(core):
    """Return whose every recorded address is."""
    items = core.cache.collection("networking.k8s.io", "ipaddresses").select()
    return {s.object["metadata"]["name"]: s.object["spec"]["parentRef"]["name"] for s in items}


async def test_a_services_addresses_are_recorded_with_it_and_go_with_it() -> None:
    async with api() as core:
        assert recorded(core) == {"10.97.0.1": "kubernetes"}
        made = await create(core, ipFamilyPolicy="PreferDualStack")
        four, six = made["spec"]["clusterIPs"]
        assert made["spec"]["ipFamilies"] == ["IPv4", "IPv6"] and made["spec"]["clusterIP"] == four
        assert recorded(core) == {"10.97.0.1": "kubernetes", four: "x", six: "x"}
        await patch(core, ipFamilyPolicy="SingleStack")
        assert recorded(core) == {"10.97.0.1": "kubernetes", four: "x"}
        again = await patch(core, ipFamilyPolicy="RequireDualStack")
        assert again["spec"]["clusterIPs"][0] == four and again["spec"]["clusterIPs"][1] in recorded(core)
        await patch(core, type="ExternalName", externalName="x.org")
        assert recorded(core) == {"10.97.0.1": "kubernetes"}
        await patch(core, type="ClusterIP", externalName=None)
        await delete(core)
        assert recorded(core) == {"10.97.0.1": "kubernetes"}


async def test_a_dry_run_and_a_refused_service_keep_nothing() -> None:
    async with api(node_ports=(30000, 30000)) as core:
        port = [{"port": 80, "nodePort": 30000}]
        for _ in range(2):
            await create(core, dry_run=True, clusterIP="10.97.0.9", type="NodePort", ports=port)
        with pytest.raises(Invalid):
            await create(core, clusterIP="10.97.0.9", type="NodePort", ports=port, sessionAffinity="Never")
        made = await create(core, "other", clusterIP="10.97.0.9", type="NodePort", ports=port)
        assert made["spec"]["ports"][0]["nodePort"] == 30000
        with pytest.raises(ApiError, match="range is full"):
            await create(core, "more", type="NodePort")


async def test_every_address_of_a_range_is_given_once_the_lower_part_last() -> None:
    async with api(cidrs=("10.97.0.0/27",)) as core:
        given = [(await create(core, f"s{n}"))["spec"]["clusterIP"] for n in range(29)]
        numbers = [int(ip.rsplit(".", 1)[1]) for ip in given]
        assert sorted(numbers) == list(range(2, 31))
        assert min(numbers[:14]) >= 17
        with pytest.raises(ApiError, match="range is full"):
            await create(core, "more")
        await delete(core, "s5")
        assert (await create(core, "more"))["spec"]["clusterIP"] == given[5]


async def test_two_servers_on_one_store_never_give_an_address_twice() -> None:
    store = MemoryStore()
    async with api(("10.97.0.0/28",), store) as one, api(("10.97.0.0/28",), store, bootstrap=False) as two:
        cores = [one, two] * 6
        made = await asyncio.gather(*(create(core, f"s{n}") for n, core in enumerate(cores)), return_exceptions=True)
        given = [m["spec"]["clusterIP"] for m in made if isinstance(m, dict)]
        assert len(given) == len(set(given)) == 12, made


def ports(core):
    """Return whose every recorded node port is."""
    return {int(s.object["metadata"]["name"]): s.object["spec"]["name"] for s in core.cache.collection("", "nodeports").select()}


async def test_two_servers_on_one_store_never_give_a_node_port_twice() -> None:
    store = MemoryStore()
    range_ = (30000, 30013)
    async with api(store=store, node_ports=range_) as one, api(store=store, node_ports=range_, bootstrap=False) as two:
        cores = [one, two] * 6
        made = await asyncio.gather(*(create(core, f"s{n}", type="NodePort") for n, core in enumerate(cores)), return_exceptions=True)
        given = [m["spec"]["ports"][0]["nodePort"] for m in made if isinstance(m, dict)]
        assert len(given) == len(set(given)) == 12, made
        asked = min(set(range(30000, 30014)) - set(given))
        wanted = {"type": "NodePort", "ports": [{"port": 80, "nodePort": asked}]}
        both = await asyncio.gather(*(create(core, f"t{n}", **wanted) for n, core in enumerate((one, two))), return_exceptions=True)
        lost = [result for result in both if isinstance(result, Exception)]
        assert len(lost) == 1 and isinstance(lost[0], Invalid) and "provided port is already allocated" in str(lost[0]), both
        for n in range(12):
            await delete(cores[n - 1], f"s{n}")
        await asyncio.gather(one.cache.catch_up(), two.cache.catch_up())
        assert set(ports(one)) == {asked} == set(ports(two)), "each server gives back what the other one gave"


async def test_a_services_node_ports_are_recorded_while_it_has_them() -> None:
    async with api() as core:
        both = [{"port": 80, "name": "t"}, {"port": 80, "name": "u", "protocol": "UDP"}]
        made = await create(core, type="LoadBalancer", externalTrafficPolicy="Local", ports=both)
        shared, health = made["spec"]["ports"][0]["nodePort"], made["spec"]["healthCheckNodePort"]
        assert ports(core) == {shared: "x", health: "x"}
        changed = await patch(core, ports=[*made["spec"]["ports"], {"port": 81, "name": "v"}])
        third = changed["spec"]["ports"][2]["nodePort"]
        assert ports(core) == {shared: "x", health: "x", third: "x"}
        await patch(core, type="NodePort", externalTrafficPolicy="Cluster")
        assert ports(core) == {shared: "x", third: "x"}
        await patch(core, type="ClusterIP")
        assert ports(core) == {}
        await patch(core, type="NodePort")
        assert len(ports(core)) == 3, "an update gives each port one of its own, as upstream's does"
        await delete(core)
        assert ports(core) == {}


async def test_a_node_port_of_a_service_older_than_records_is_taken_and_gets_its_record_with_the_next_change() -> None:
    async with api() as core:
        made = await create(core, type="NodePort")
        number = made["spec"]["ports"][0]["nodePort"]
        await core.store.commit([DeleteRecord(f"core/nodeports//{number}")])
        async with api(store=core.store, bootstrap=False) as later:
            assert ports(later) == {}
            with pytest.raises(Invalid, match="already allocated"):
                await create(later, "y", type="NodePort", ports=[{"port": 80, "nodePort": number}])
            await patch(later, sessionAffinity="ClientIP")
            assert ports(later) == {number: "x"}


async def test_batches_of_writes_record_addresses_too() -> None:
    async with api() as core:
        client = LocalClient(core, USER)
        bodies = [{"metadata": {"name": n, "namespace": "default"}, "spec": {"ports": [{"port": 80}]}} for n in ("a", "b")]
        made = await client.commit([Create(SERVICES, body) for body in bodies])
        assert {m["spec"]["clusterIP"] for m in made} <= recorded(core).keys()
        await client.commit([Delete(SERVICES, "default", n) for n in ("a", "b")])
        assert recorded(core) == {"10.97.0.1": "kubernetes"}


async def test_a_new_range_gives_addresses_and_one_that_goes_gives_none() -> None:
    async with api(("10.97.0.0/30",)) as core:
        await create(core, "last")
        with pytest.raises(ApiError, match="range is full"):
            await create(core)
        client = LocalClient(core, USER)
        more = {"metadata": {"name": "more", "finalizers": ["x.org/y"]}, "spec": {"cidrs": ["10.98.0.0/24"]}}
        await client.create(SERVICE_CIDRS, more)
        assert (await create(core))["spec"]["clusterIP"].startswith("10.98.0.")
        await client.delete(SERVICE_CIDRS, "more")
        with pytest.raises(ApiError, match="range is full"):
            await create(core, "y")


async def test_an_address_of_a_service_without_a_record_is_taken() -> None:
    """Services may be older than the records."""
    async with api() as core:
        made = await create(core)
        await LocalClient(core, USER).delete(IP_ADDRESSES, made["spec"]["clusterIP"])
        async with api(store=core.store, bootstrap=False) as later:
            with pytest.raises(Invalid, match="already allocated"):
                await create(later, "y", clusterIP=made["spec"]["clusterIP"])


async def test_a_node_port_serves_one_service_whatever_the_protocol() -> None:
    async with api() as core:
        dns = [{"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53, "protocol": "TCP"}]
        made = await create(core, type="NodePort", ports=dns)
        shared = {p["nodePort"] for p in made["spec"]["ports"]}
        assert len(shared) == 1
        with pytest.raises(Invalid, match="already allocated"):
            await create(core, "y", type="NodePort", ports=[{"port": 80, "protocol": "SCTP", "nodePort": shared.pop()}])


@pytest.mark.parametrize("policy", ["RequireDualStack", "PreferDualStack"])
async def test_a_cluster_of_one_family(policy) -> None:
    async with api(("10.97.0.0/16",)) as core:
        if policy == "RequireDualStack":
            with pytest.raises(Invalid, match="not configured for dual-stack"):
                await create(core, ipFamilyPolicy=policy)
        else:
            assert (await create(core, ipFamilyPolicy=policy))["spec"]["ipFamilies"] == ["IPv4"]
        headless = await create(core, "h", clusterIP="None")
        assert headless["spec"]["ipFamilies"] == ["IPv4", "IPv6"] and headless["spec"]["ipFamilyPolicy"] == "RequireDualStack"


async def test_services_are_selected_by_address_and_type_as_kube_proxy_asks() -> None:
    async with api() as core:
        await create(core, "virtual")
        await create(core, "headless", clusterIP="None")
        client = LocalClient(core, USER)
        found = await client.list(SERVICES, "default", fields="spec.clusterIP!=None")
        assert {s["metadata"]["name"] for s in found.items} == {"kubernetes", "virtual"}
        assert len((await client.list(SERVICES, "default", fields="spec.type=ClusterIP")).items) == 3


async def test_a_service_that_is_there_already_is_refused_as_that_with_and_without_its_address() -> None:
    async with api() as core:
        made = await create(core, "a")
        for spec in ({}, {"clusterIP": made["spec"]["clusterIP"]}, {"clusterIPs": made["spec"]["clusterIPs"]}):
            with pytest.raises(AlreadyExists):
                await create(core, "a", **spec)
        await create_missing(LocalClient(core, USER), objects(ClusterConfig(), "", "192.0.2.1", 6443))  # as at a server's next start
