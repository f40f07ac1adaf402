"""Endpoints written by hand become slices, follow them, and go with whatever made them necessary."""

import pytest

from moorings_core.client.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from moorings_core.controllers.endpointslicemirroring import MOST, SKIP, EndpointSliceMirroringController, wanted_of

from .simulator import Api, World

PORT = {"name": "http", "port": 8080, "protocol": "TCP"}


def world():
    api = Api(0)
    return api, World(api, [EndpointSliceMirroringController()])


def service(**spec):
    return {"metadata": {"name": "web", "namespace": "d"}, "spec": {"ports": [{"port": 80}], **spec}}


def endpoints(*subsets, **metadata):
    return {"metadata": {"name": "web", "namespace": "d", "labels": {"team": "x"}, **metadata}, "subsets": list(subsets)}


def subset(*addresses, late=(), **more):
    ready, unready = ([{"ip": ip} for ip in some] for some in (addresses, late))
    return {"addresses": ready, "notReadyAddresses": unready, "ports": [PORT]} | more


def seen(api):
    return {
        piece["addressType"]: [(e["addresses"][0], e["conditions"]["ready"]) for e in piece["endpoints"]]
        for piece in api.all(ENDPOINT_SLICES)
        if piece["ports"] == [PORT]
    }


async def test_slices_follow_endpoints_of_a_service_without_selector():
    api, sim = world()
    api.create(SERVICES, service())
    made = api.create(ENDPOINTS, endpoints(subset("10.0.0.1", "fd00::1", late=["10.0.0.2"]), annotations={"a": "b"}))
    await sim.settle()
    assert seen(api) == {"IPv4": [("10.0.0.1", True), ("10.0.0.2", False)], "IPv6": [("fd00::1", True)]}
    for piece in api.all(ENDPOINT_SLICES):
        metadata = piece["metadata"]
        assert metadata["labels"] == {
            "team": "x",
            "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
        }
        assert metadata["annotations"] == {"a": "b"} and metadata["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    names = {piece["metadata"]["name"] for piece in api.all(ENDPOINT_SLICES)}
    written = len(api.log)
    sim.restart()
    await sim.settle()
    assert len(api.log) == written, "nothing is written twice"
    current = api.read(ENDPOINTS, "web", "d")
    api.update(ENDPOINTS, {**current, "subsets": [subset("10.0.0.3")]})
    await sim.settle()
    assert seen(api) == {"IPv4": [("10.0.0.3", True)]} and {p["metadata"]["name"] for p in api.all(ENDPOINT_SLICES)} < names
    current = api.read(ENDPOINTS, "web", "d")
    api.update(ENDPOINTS, {**current, "subsets": [subset("10.0.0.3", ports=[{"port": 1, "protocol": "UDP"}])]})
    await sim.settle()
    assert [piece["ports"] for piece in api.all(ENDPOINT_SLICES)] == [[{"name": "", "port": 1, "protocol": "UDP"}]]


@pytest.mark.parametrize("why", ["endpoints go", "service goes", "service selects", "skipped"])
async def test_slices_go_when_nobody_needs_them(why):
    api, sim = world()
    api.create(SERVICES, service())
    api.create(ENDPOINTS, endpoints(subset("10.0.0.1")))
    await sim.settle()
    assert seen(api) == {"IPv4": [("10.0.0.1", True)]}
    if why == "endpoints go":
        api.delete(ENDPOINTS, "web", "d")
    elif why == "service goes":
        api.delete(SERVICES, "web", "d")
    elif why == "service selects":
        current = api.read(SERVICES, "web", "d")
        api.update(SERVICES, {**current, "spec": {**current["spec"], "selector": {"app": "x"}}})
    else:
        current = api.read(ENDPOINTS, "web", "d")
        api.update(ENDPOINTS, {**current, "metadata": {**current["metadata"], "labels": {SKIP: "true"}}})
    await sim.settle()
    assert api.all(ENDPOINT_SLICES) == []


def test_what_cannot_be_mirrored_is_left_out_and_told():
    many = [f"10.1.{n >> 8}.{n & 255}" for n in range(MOST + 5)]
    found, notes = wanted_of(endpoints(subset("nonsense", *many)))
    assert [len(made) for made in found.values()] == [MOST]
    assert [(note.reason, note.message) for note in notes] == [
        ("InvalidIPAddress", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"),
        (
            "TooManyAddressesToMirror",
            "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 6 addresses were skipped",
        ),
    ]
