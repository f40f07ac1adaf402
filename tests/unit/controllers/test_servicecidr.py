"""Ranges of Services' addresses say that they are ready and stay while they are needed; records follow the Services."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorings_core.client.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES
from moorings_core.controllers.servicecidr import FINALIZER, GRACE, MANAGED_BY, MANAGER, IpAddressController, ServiceCidrController

from .simulator import Api, World

CIDRS = ("10.96.0.0/16",)


def world(configured=CIDRS):
    api = Api()
    return api, World(api, [ServiceCidrController(configured), IpAddressController()])


def cidr(name, *cidrs):
    return {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}}


def service(name, *addresses):
    return {"metadata": {"name": name, "namespace": "d"}, "spec": {"clusterIP": addresses[0], "clusterIPs": list(addresses)}}


def record(address, name, resource="services"):
    parent = {"resource": resource, "namespace": "d", "name": name}
    return {"metadata": {"name": address, "labels": {MANAGED_BY: MANAGER}}, "spec": {"parentRef": parent}}


def ready(api, name):
    (found,) = api.read(SERVICE_CIDRS, name)["status"]["conditions"]
    return found["status"], found["reason"]


async def test_a_range_is_held_and_ready():
    api, sim = world()
    api.create(SERVICE_CIDRS, cidr("kubernetes", *CIDRS))
    await sim.settle()
    assert api.read(SERVICE_CIDRS, "kubernetes")["metadata"]["finalizers"] == [FINALIZER]
    assert ready(api, "kubernetes") == ("True", "")


async def test_the_first_range_grows_when_the_cluster_is_given_a_second_family():
    api, sim = world((*CIDRS, "fd96::/112"))
    api.create(SERVICE_CIDRS, cidr("kubernetes", *CIDRS))
    await sim.settle()
    assert api.read(SERVICE_CIDRS, "kubernetes")["spec"]["cidrs"] == [*CIDRS, "fd96::/112"]


async def test_a_deleted_range_waits_for_its_last_address_and_a_moment_more():
    api, sim = world()
    api.create(SERVICE_CIDRS, cidr("more", "10.98.0.0/24"))
    api.create(SERVICES, service("web", "10.98.0.5"))
    await sim.settle()
    api.delete(SERVICE_CIDRS, "more")
    await sim.settle()
    assert ready(api, "more") == ("False", "Terminating")
    api.delete(SERVICES, "web", "d")
    await sim.settle()
    assert api.all(IP_ADDRESSES) == []
    api.now += timedelta(seconds=GRACE + 1)
    await sim.settle()
    assert api.all(SERVICE_CIDRS) == []


@pytest.mark.parametrize("wider", [["10.98.0.0/16"], ["10.98.0.0/24"]])
async def test_a_deleted_range_goes_when_another_one_holds_its_addresses(wider):
    api, sim = world()
    for made in (cidr("more", "10.98.0.0/24"), cidr("wider", *wider)):
        api.create(SERVICE_CIDRS, made)
    api.create(SERVICES, service("web", "10.98.0.5"))
    await sim.settle()
    api.delete(SERVICE_CIDRS, "more")
    api.now += timedelta(seconds=GRACE + 1)
    await sim.settle()
    assert [c["metadata"]["name"] for c in api.all(SERVICE_CIDRS)] == ["wider"]


async def test_records_are_made_for_services_that_have_none_and_go_without_one():
    api, sim = world()
    api.create(SERVICES, service("web", "10.96.0.9", "fd96::9"))
    api.create(SERVICES, service("headless", "None"))
    for made in (record("10.96.0.7", "gone"), record("10.96.0.8", "web"), record("10.96.0.10", "x", "things")):
        api.create(IP_ADDRESSES, made)
    await sim.settle()
    found = {r["metadata"]["name"]: r["spec"]["parentRef"]["name"] for r in api.all(IP_ADDRESSES)}
    assert found == {"10.96.0.9": "web", "fd96::9": "web", "10.96.0.10": "x"}
