"""The model against a slow and obvious one, written from upstream's pkg/proxy (serviceport.go, endpointslicecache.go, topology.go)."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from moorings_core.ports.proxy import Endpoint, ServiceEntry
from moorings_proxy.model import Place, kept_of_service, kept_of_slice, service_entry

NODES, ZONES = ["n1", "n2", "n3"], ["z1", "z2"]
ADDRESSES = {"IPv4": ["10.64.0.1", "10.64.0.2", "10.64.1.1"], "IPv6": ["fd64::1", "fd64::2"]}
unknown = st.sampled_from([None, True, False])


def endpoints(family):
    hints = st.none() | st.fixed_dictionaries(
        {},
        optional={
            "forZones": st.lists(st.sampled_from(ZONES).map(lambda z: {"name": z}), max_size=2),
            "forNodes": st.lists(st.sampled_from(NODES).map(lambda n: {"name": n}), max_size=2),
        },
    )
    conditions = st.fixed_dictionaries({}, optional={"ready": unknown, "serving": unknown, "terminating": unknown})
    return st.lists(
        st.builds(
            lambda address, node, conditions, hints: {
                "addresses": [address],
                **({"nodeName": node} if node else {}),
                "conditions": conditions,
                **({"hints": hints} if hints is not None else {}),
            },
            st.sampled_from(ADDRESSES[family]),
            st.sampled_from([*NODES, None]),
            conditions,
            hints,
        ),
        max_size=4,
    )


def pieces(family):
    ports = st.lists(
        st.builds(
            lambda name, port, protocol: {"name": name, "port": port, "protocol": protocol},
            st.sampled_from(["a", "b"]),
            st.sampled_from([8080, None]),
            st.sampled_from(["TCP", "SCTP"]),
        ),
        max_size=2,
        unique_by=lambda p: (p["name"], p["protocol"]),
    )
    return st.lists(
        st.builds(lambda ports, ends: {"addressType": family, "ports": ports, "endpoints": ends}, ports, endpoints(family)), max_size=2
    )


services = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
        "clusterIPs": st.sampled_from([["10.96.0.1"], ["10.96.0.1", "fd96::1"], ["fd96::1"]]),
        "ports": st.just([{"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30080}, {"name": "b", "port": 80, "protocol": "SCTP"}]),
        "externalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "internalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "loadBalancerSourceRanges": st.lists(
            st.sampled_from(["10.0.0.0/8", " 192.0.2.0/24 ", "0.0.0.0/0", "fd00::/8", "::/0", "2001:db8::/32"]), max_size=3, unique=True
        ),
    }
)
places = st.builds(Place, st.sampled_from(NODES), st.sampled_from([*ZONES, ""]), st.sampled_from([(), ("192.0.2.1", "fd30::1")]))


@settings(max_examples=400, deadline=None)
@given(services, pieces("IPv4"), pieces("IPv6"), places)
def test_the_table_is_what_upstream_computes(spec, four, six, place) -> None:
    balanced = [{"ip": "192.0.2.9"}, {"ip": "fd30::9", "ipMode": "VIP"}, {"ip": "192.0.2.8", "ipMode": "Proxy"}]
    status = {"loadBalancer": {"ingress": balanced}} if spec["type"] == "LoadBalancer" else {}
    service = {"metadata": {"name": "web", "namespace": "d"}, "spec": spec, "status": status}
    slices = [piece | {"metadata": {"name": f"s{n}"}} for n, piece in enumerate([*four, *six])]
    entry = service_entry(service, slices, place)
    assert entry is not None
    named = [piece | {"metadata": piece["metadata"] | {"namespace": "d"}} for piece in slices]
    assert service_entry(kept_of_service(service), [kept_of_slice(piece, place.node) for piece in named], place) == entry
    for port, made in zip(spec["ports"], entry.ports, strict=True):
        for family in ("IPv4", "IPv6"):
            cluster, local = categorized([s for s in slices if s["addressType"] == family], port, place)
            assert of_family(made.endpoints, family) == cluster
            assert of_family(made.local_endpoints, family) == local
    for version, address in ((4, "192.0.2.9"), (6, "fd30::9")):
        assert allowed(entry, version) == source_ranges(spec, version, address, place)


def categorized(slices, port, place):
    """Return (endpoints for policy Cluster, for policy Local) of one family, as sorted (address, port)."""
    known = {}
    for piece in slices:
        for number in (p["port"] for p in piece["ports"] if (p["name"], p["protocol"]) == (port["name"], port["protocol"]) and p["port"]):
            for each in piece["endpoints"]:
                conditions = each["conditions"]
                facts = {
                    "ready": conditions.get("ready") in (None, True),
                    "serving": conditions.get("serving") in (None, True),
                    "terminating": conditions.get("terminating") is True,
                    "local": each.get("nodeName") == place.node,
                    "zones": {z["name"] for z in (each.get("hints") or {}).get("forZones", [])},
                    "nodes": {n["name"] for n in (each.get("hints") or {}).get("forNodes", [])},
                }
                where = (each["addresses"][0], number)
                if where not in known or not facts["terminating"]:
                    known[where] = facts
    ready = {where: facts for where, facts in known.items() if facts["ready"]}
    leaving = {where for where, facts in known.items() if facts["serving"] and facts["terminating"]}
    cluster = set(ready)
    for hint, here in (("nodes", place.node), ("zones", place.zone)):
        if ready and all(facts[hint] for facts in ready.values()) and any(here in facts[hint] for facts in ready.values()):
            cluster = {where for where, facts in ready.items() if here in facts[hint]}
            break
    local = {where for where, facts in ready.items() if facts["local"]}
    return sorted(cluster or leaving), sorted(local or {where for where in leaving if known[where]["local"]})


def of_family(some: tuple[Endpoint, ...], family: str):
    return sorted((e.address, e.port) for e in some if (":" in e.address) == (family == "IPv6"))


def allowed(entry: ServiceEntry, version: int):
    return {text for text in entry.source_ranges if ipaddress.ip_network(text).version == version}


def source_ranges(spec, version, balanced, place):
    if spec["type"] != "LoadBalancer":
        return set()
    ranges = [ipaddress.ip_network(text.strip()) for text in spec["loadBalancerSourceRanges"]]
    mine = {network for network in ranges if network.version == version}
    if any(network.prefixlen == 0 for network in mine):
        return set()
    found = {str(network) for network in mine}
    if any(ipaddress.ip_address(address) in network for address in place.addresses for network in mine):
        found.add(f"{balanced}/{32 if version == 4 else 128}")
    return found
