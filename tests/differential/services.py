"""Services on a cluster of two families: addresses, families, node ports, types and policies, as upstream's API decides them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import APPLY, MERGE, Case, obj, path
from .peers import Request

RANGES = "10.97.0.0/16,fd97::/112"
GROUP = "networking.k8s.io/v1"
PORTS = [{"port": 80}]
TWO = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
DNS = [{"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53, "protocol": "TCP"}]
SELECTOR = {"app": "x"}
LOCAL: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
NONE: dict[str, Any] = {"clusterIP": None, "clusterIPs": None}
"""What a client sends that takes an address back"""

CREATED: dict[str, dict[str, Any]] = {
    "plain": {},
    "one family": {"ipFamilies": ["IPv6"]},
    "the other first": {"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "PreferDualStack"},
    "both preferred": {"ipFamilyPolicy": "PreferDualStack"},
    "both required": {"ipFamilyPolicy": "RequireDualStack"},
    "both without a policy": {"ipFamilies": ["IPv4", "IPv6"]},
    "two addresses without a policy": {"clusterIP": "10.97.1.1", "clusterIPs": ["10.97.1.1", "fd97::101"]},
    "two addresses": {"clusterIP": "10.97.1.2", "clusterIPs": ["10.97.1.2", "fd97::102"], "ipFamilyPolicy": "RequireDualStack"},
    "one address of two": {"clusterIP": "fd97::103", "ipFamilyPolicy": "PreferDualStack"},
    "an address of the second family": {"clusterIP": "fd97::104"},
    "addresses of one family": {"clusterIP": "10.97.1.5", "clusterIPs": ["10.97.1.5", "10.97.1.6"], "ipFamilyPolicy": "PreferDualStack"},
    "three addresses": {"clusterIP": "10.97.1.5", "clusterIPs": ["10.97.1.5", "fd97::105", "10.97.1.6"]},
    "another first address": {"clusterIP": "10.97.1.7", "clusterIPs": ["10.97.1.8"]},
    "addresses without the first": {"clusterIPs": ["10.97.1.8"]},
    "an address of another family": {"clusterIP": "10.97.1.9", "ipFamilies": ["IPv6"]},
    "a family twice": {"ipFamilies": ["IPv4", "IPv4"]},
    "a family that is none": {"ipFamilies": ["IPv5"]},
    "a policy that is none": {"ipFamilyPolicy": "Any"},
    "headless": {"clusterIP": "None", "selector": SELECTOR},
    "headless without a selector": {"clusterIP": "None"},
    "headless, one family": {"clusterIP": "None", "ipFamilyPolicy": "SingleStack"},
    "headless, both": {"clusterIP": "None", "selector": SELECTOR, "ipFamilyPolicy": "PreferDualStack"},
    "headless without ports": {"clusterIP": "None", "ports": []},
    "headless with an address": {"clusterIP": "None", "clusterIPs": ["None", "10.97.1.1"]},
    "a headless node port": {"clusterIP": "None", "type": "NodePort"},
    "a name with families": {"type": "ExternalName", "externalName": "x.org", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
    "a name with an address": {"type": "ExternalName", "externalName": "x.org", "clusterIP": "10.97.1.1"},
    "a wrong name": {"type": "ExternalName", "externalName": "x_y"},
    "a name with a dot": {"type": "ExternalName", "externalName": "x.org."},
    "an address that is none": {"clusterIP": "10.97.300.1"},
    "an address out of range": {"clusterIP": "10.98.0.1"},
    "the first address": {"clusterIP": "10.97.0.0"},
    "the last address": {"clusterIP": "10.97.255.255"},
    "node ports": {"type": "NodePort", "ports": TWO},
    "one node port for two protocols": {"type": "NodePort", "ports": DNS},
    "a node port asked for": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30010}]},
    "a node port for the first of two": {"type": "NodePort", "ports": [{**DNS[0], "nodePort": 30011}, DNS[1]]},
    "a node port out of range": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 29000}]},
    "a node port twice": {"type": "NodePort", "ports": [{**TWO[0], "nodePort": 30012}, {**TWO[1], "nodePort": 30012}]},
    "balanced": {"type": "LoadBalancer"},
    "balanced without node ports": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False},
    "balanced with a node port": {**LOCAL, "allocateLoadBalancerNodePorts": False, "ports": [{"port": 80, "nodePort": 30013}]},
    "balanced locally": LOCAL,
    "balanced locally at a port": {**LOCAL, "healthCheckNodePort": 30014},
    "balanced locally at a wrong port": {**LOCAL, "healthCheckNodePort": 29000},
    "a health port without balancing": {"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30015},
    "a class": {"type": "LoadBalancer", "loadBalancerClass": "x.org/y"},
    "a wrong class": {"type": "LoadBalancer", "loadBalancerClass": "x y"},
    "a class without balancing": {"loadBalancerClass": "x.org/y"},
    "ranges": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", " fd00::/8 "]},
    "a wrong range": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0"]},
    "ranges without balancing": {"loadBalancerSourceRanges": ["10.0.0.0/8"]},
    "node ports without balancing": {"allocateLoadBalancerNodePorts": True},
    "an external policy without a way in": {"externalTrafficPolicy": "Local"},
    "a wrong external policy": {"type": "NodePort", "externalTrafficPolicy": "Near"},
    "a wrong internal policy": {"internalTrafficPolicy": "Near"},
    "a local internal policy": {"internalTrafficPolicy": "Local"},
    "external addresses": {"externalIPs": ["192.0.2.9", "fd00::9"]},
    "external addresses that are none": {
        "externalIPs": ["192.0.2.999", "127.0.0.1", "::1", "169.254.0.1", "fe80::1", "0.0.0.0", "ff02::1"]
    },
    "affinity": {"sessionAffinity": "ClientIP"},
    "affinity for a time": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
    "affinity for too long": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}},
    "a time without affinity": {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}},
    "an empty configuration of affinity": {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {}},
    "unready endpoints": {"publishNotReadyAddresses": True},
    **{f"distribution {word}": {"trafficDistribution": word} for word in ("PreferClose", "PreferSameZone", "PreferSameNode", "Near", "")},
    "a port twice": {"ports": [TWO[0], {**TWO[1], "port": 80}]},
    "a port of a wrong protocol": {"ports": [{"port": 80, "protocol": "ICMP"}]},
    "a port by SCTP": {"ports": [{"port": 80, "protocol": "SCTP"}]},
    "a wrong application protocol": {"ports": [{"port": 80, "appProtocol": "x y"}]},
    "an application protocol": {"ports": [{"port": 80, "appProtocol": "kubernetes.io/h2c"}]},
    "a target of nothing": {"ports": [{"port": 80, "targetPort": 0}]},
    "a wrong target": {"ports": [{"port": 80, "targetPort": "A_B"}]},
}

CHANGED: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "one family to both and back": ({}, [{"ipFamilyPolicy": "PreferDualStack"}, {"ipFamilyPolicy": "SingleStack"}]),
    "one family to both by addresses": ({}, [{"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}]),
    "both to the second": ({"ipFamilyPolicy": "PreferDualStack"}, [{"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}]),
    "both to one without a policy": ({"ipFamilyPolicy": "PreferDualStack"}, [{"ipFamilies": ["IPv4"]}, {"clusterIPs": None}]),
    "required to preferred": ({"ipFamilyPolicy": "RequireDualStack"}, [{"ipFamilyPolicy": "PreferDualStack"}, {"ipFamilyPolicy": None}]),
    "the families turned round": ({"ipFamilyPolicy": "PreferDualStack"}, [{"ipFamilies": ["IPv6", "IPv4"]}]),
    "another address": ({"clusterIP": "10.97.2.1"}, [{"clusterIP": "10.97.2.2"}, {"clusterIP": "10.97.2.2", "clusterIPs": ["10.97.2.2"]}]),
    "an address taken back": ({"clusterIP": "10.97.2.3"}, [NONE, {"clusterIP": ""}, {"clusterIP": "None"}]),
    "headless with an address": ({"clusterIP": "None"}, [{"clusterIP": "10.97.2.4"}]),
    "a name and back": ({}, [{"type": "ExternalName", "externalName": "x.org"}, {"type": "ClusterIP", "externalName": None}]),
    "a name with the address taken back": ({}, [{"type": "ExternalName", "externalName": "x.org", **NONE}]),
    "types up and down": (
        {"ports": TWO},
        [{"type": "NodePort"}, LOCAL, {"externalTrafficPolicy": "Cluster"}, {"type": "NodePort"}, {"type": "ClusterIP"}],
    ),
    "local balancing ended": (LOCAL, [{"type": "ClusterIP"}]),
    "local balancing ended for node ports": (LOCAL, [{"type": "NodePort"}]),
    "a health port changed": ({**LOCAL, "healthCheckNodePort": 30020}, [{"healthCheckNodePort": 30021}, {"healthCheckNodePort": None}]),
    "a class changed": ({"type": "LoadBalancer"}, [{"loadBalancerClass": "x.org/y"}]),
    "a class set with the type": ({}, [{"type": "LoadBalancer", "loadBalancerClass": "x.org/y"}, {"type": "ClusterIP"}]),
    "a node port changed": ({"type": "NodePort"}, [{"ports": [{"port": 80, "nodePort": 30022}]}, {"ports": [{"port": 81}]}]),
    "node ports given up": ({"type": "LoadBalancer"}, [{"allocateLoadBalancerNodePorts": False}, {"ports": [{"port": 80}]}]),
    "external addresses": ({}, [{"externalIPs": ["192.0.2.9"]}, {"externalIPs": None}]),
    "affinity": ({}, [{"sessionAffinity": "ClientIP"}, {"sessionAffinity": "None"}]),
    "a distribution": ({}, [{"trafficDistribution": "PreferClose"}, {"trafficDistribution": None}]),
}


def services() -> Iterator[Case]:
    """Yield the cases."""
    for name, spec in CREATED.items():
        yield f"services: created, {name}", [_create("x", spec), _delete("x")]
    for name, (spec, changes) in CHANGED.items():
        yield f"services: changed, {name}", [_create("x", spec), *(_patch("x", change) for change in changes), _delete("x")]
    yield "services: replaced without what was given", _replaced()
    yield "services: applied", _applied()
    yield "services: taken", _taken()
    yield "services: a status", _status()
    yield "services: ranges", _ranges()
    yield "services: addresses", _addresses()


def _create(name: str, spec: dict[str, Any], query: str = "") -> Request:
    return Request("POST", path("v1", "services") + query, obj("v1", "Service", name, spec={"ports": PORTS, **spec}))


def _patch(name: str, spec: dict[str, Any]) -> Request:
    return Request("PATCH", path("v1", "services", name), {"spec": spec}, MERGE)


def _delete(name: str) -> Request:
    return Request("DELETE", path("v1", "services", name))


def _replaced() -> list[Request]:
    bare = obj("v1", "Service", "x", spec={"type": "NodePort", "ports": PORTS})
    return [
        _create("x", {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack"}),
        Request("PUT", path("v1", "services", "x"), bare),
        _delete("x"),
    ]


def _applied() -> list[Request]:
    place = path("v1", "services", "x") + "?fieldManager=me"
    specs: list[dict[str, Any]] = [
        {"ports": PORTS},
        {"ports": PORTS, "ipFamilyPolicy": "PreferDualStack"},
        {"ports": PORTS, "type": "NodePort"},
    ]
    return [*(Request("PATCH", place, obj("v1", "Service", "x", spec=spec), APPLY) for spec in specs), _delete("x")]


def _taken() -> list[Request]:
    mine = {"type": "NodePort", "clusterIP": "10.97.3.1", "ports": [{"port": 80, "nodePort": 30030}]}
    same_port = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30030}]}
    return [
        _create("x", mine),
        _create("y", {"clusterIP": "10.97.3.1"}),
        _create("y", same_port),
        _create("y", {"ipFamilyPolicy": "PreferDualStack", "clusterIP": "10.97.3.2"}),
        _patch("y", {"type": "NodePort", "ports": same_port["ports"]}),
        _delete("x"),
        _create("x", {"clusterIP": "10.97.3.1"}),
        _delete("x"),
        _delete("y"),
    ]


def _status() -> list[Request]:
    place = path("v1", "services", "x") + "/status"
    ingress = [
        [{"ip": "192.0.2.7"}],
        [{"ip": "192.0.2.7", "ipMode": "Proxy"}, {"hostname": "x.org"}],
        [{"ip": "x"}, {"ipMode": "VIP"}, {"ip": "192.0.2.7", "ipMode": "Any"}, {"hostname": "192.0.2.7"}, {"hostname": "x_y"}],
    ]
    writes = [Request("PATCH", place, {"status": {"loadBalancer": {"ingress": each}}}, MERGE) for each in ingress]
    return [_create("x", {"type": "LoadBalancer"}), *writes, _patch("x", {"type": "ClusterIP"}), writes[0], _delete("x")]


def _ranges() -> list[Request]:
    where = path(GROUP, "servicecidrs", namespace="")

    def made(name: str, cidrs: list[str]) -> Request:
        return Request("POST", where, obj(GROUP, "ServiceCIDR", name, spec={"cidrs": cidrs}))

    def changed(name: str, cidrs: list[str]) -> Request:
        return Request("PATCH", f"{where}/{name}", {"spec": {"cidrs": cidrs}}, MERGE)

    wrong = [
        [],
        ["10.99.0.0/24", "fd99::/112", "10.98.0.0/24"],
        ["x"],
        ["10.99.0.1/24"],
        ["10.99.0.0/24", "10.98.0.0/24"],
        ["fd99:0::/112"],
    ]
    return [
        made("more", ["10.99.0.0/24"]),
        Request("GET", f"{where}/more"),
        *(made("wrong", cidrs) for cidrs in wrong),
        changed("more", ["10.98.0.0/24"]),
        changed("more", ["10.99.0.0/24", "fd99::/112"]),
        changed("more", ["10.99.0.0/24"]),
        Request("GET", f"{where}/kubernetes"),
        Request("DELETE", f"{where}/more"),
    ]


def _addresses() -> list[Request]:
    where = path(GROUP, "ipaddresses", namespace="")
    other = obj(GROUP, "IPAddress", "10.97.4.9", spec={"parentRef": {"group": "x.org", "resource": "things", "name": "t"}})
    wrong = [
        {},
        {"parentRef": {}},
        {"parentRef": {"resource": "a/b", "name": "c"}},
        {"parentRef": {"group": "x y", "resource": "a", "name": "c"}},
    ]
    return [
        _create("x", {"clusterIP": "10.97.4.1", "clusterIPs": ["10.97.4.1", "fd97::401"], "ipFamilyPolicy": "PreferDualStack"}),
        Request("GET", f"{where}/10.97.4.1"),
        Request("GET", f"{where}/fd97::401"),
        _patch("x", {"ipFamilyPolicy": "SingleStack"}),
        Request("GET", f"{where}/fd97::401"),
        Request("POST", where, other),
        _create("y", {"clusterIP": "10.97.4.9"}),
        Request("PATCH", f"{where}/10.97.4.9", {"spec": {"parentRef": {"name": "u"}}}, MERGE),
        *(Request("POST", where, obj(GROUP, "IPAddress", "10.97.4.8", spec=spec)) for spec in wrong),
        Request("POST", where, obj(GROUP, "IPAddress", "nothing", spec=other["spec"])),
        Request("DELETE", f"{where}/10.97.4.9"),
        _delete("x"),
        Request("GET", f"{where}/10.97.4.1"),
    ]
