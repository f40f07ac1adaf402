"""NetworkPolicies, pods and namespaces as the policy code sees them: parsed once from API objects, immutable, comparable. Pure.

Source: networking.k8s.io/v1 NetworkPolicy, as upstream's API describes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from moorings_core.ports.objects import Key, Object, key_of
from moorings_core.registry.selectors import LabelSelector, from_label_selector

INGRESS, EGRESS = "Ingress", "Egress"
PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
LAST_PORT = 65535
CONFIG_HASH, MIRROR = "kubernetes.io/config.hash", "kubernetes.io/config.mirror"
Network = IPv4Network | IPv6Network


class NamedPort(NamedTuple):
    """A port of a container that has a name."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as policies see it. uids: all that a runtime may know it by (a static pod's differs from its mirror's)."""

    key: Key
    uids: frozenset[str]
    labels: Mapping[str, str]
    addresses: tuple[str, ...] = ()
    ports: tuple[NamedPort, ...] = ()

    def numbers(self, name: str, protocol: str) -> list[int]:
        """Return the ports that a name stands for."""
        return [port.number for port in self.ports if port.name == name and port.protocol == protocol]


@dataclass(frozen=True, slots=True)
class Selector:
    """A peer by labels: the pods selected in one namespace, or (namespaces given) in every namespace selected."""

    namespace: str
    namespaces: LabelSelector | None
    pods: LabelSelector

    def matches(self, pod: Pod, namespace_labels: Mapping[str, str] | None) -> bool:
        """Whether a pod is meant; a namespace that is not known (yet) is selected by nothing."""
        if self.namespaces is None:
            return pod.key.namespace == self.namespace and self.pods.matches(pod.labels)
        return namespace_labels is not None and self.namespaces.matches(namespace_labels) and self.pods.matches(pod.labels)


@dataclass(frozen=True, slots=True)
class Block:
    """A peer by address: cidr without what is excepted."""

    cidr: Network
    excepted: tuple[Network, ...] = ()

    def matches(self, address: str) -> bool:
        """Whether an address is meant."""
        ip = ip_address(address)
        inside = ip.version == self.cidr.version and ip in self.cidr
        return inside and not any(ip in part for part in self.excepted)


Peer = Selector | Block


@dataclass(frozen=True, slots=True)
class Port:
    """Ports of a protocol: a range of numbers, or the name of a port of the destination pod."""

    protocol: str
    first: int = 0
    last: int = LAST_PORT
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is allowed: without peers every peer, without ports every port and protocol."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy. types holds the directions in which it isolates the pods that it selects."""

    key: Key
    pods: LabelSelector
    types: frozenset[str]
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()

    def rules(self, direction: str) -> tuple[Rule, ...]:
        """Return what it allows in a direction."""
        return self.ingress if direction == INGRESS else self.egress

    def selects(self, pod: Pod) -> bool:
        """Whether it is about a pod."""
        return pod.key.namespace == self.key.namespace and self.pods.matches(pod.labels)


def policy_of(obj: Object) -> Policy:
    """Return the policy that an API object says."""
    key, spec = key_of(obj), obj.get("spec") or {}
    ingress = tuple(_rule(rule, "from", key.namespace) for rule in spec.get("ingress") or ())
    egress = tuple(_rule(rule, "to", key.namespace) for rule in spec.get("egress") or ())
    types = spec.get("policyTypes") or [INGRESS, *([EGRESS] if egress else [])]
    return Policy(key, from_label_selector(spec.get("podSelector") or {}), frozenset(types), ingress, egress)


def _rule(rule: Object, side: str, namespace: str) -> Rule:
    return Rule(tuple(_peer(peer, namespace) for peer in rule.get(side) or ()), tuple(_port(port) for port in rule.get("ports") or ()))


def _peer(peer: Object, namespace: str) -> Peer:
    if block := peer.get("ipBlock"):
        excepted = tuple(ip_network(part, strict=False) for part in block.get("except") or ())
        return Block(ip_network(block["cidr"], strict=False), excepted)
    pods = from_label_selector(peer.get("podSelector") or {})
    if peer.get("namespaceSelector") is None:
        return Selector(namespace, None, pods)
    return Selector("", from_label_selector(peer["namespaceSelector"]), pods)


def _port(port: Object) -> Port:
    protocol, number = str(port.get("protocol") or "TCP"), port.get("port")
    if number is None:
        return Port(protocol)
    if isinstance(number, str):
        return Port(protocol, 0, 0, number)
    return Port(protocol, int(number), int(port.get("endPort") or number))


def pod_of(obj: Object) -> Pod | None:
    """Return a pod as policies see it; None where they do not: on the node's network, or with its containers ended."""
    spec, status, metadata = obj.get("spec") or {}, obj.get("status") or {}, obj["metadata"]
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    annotations = metadata.get("annotations") or {}
    uids = {str(metadata.get("uid", "")), *(annotations[a] for a in (CONFIG_HASH, MIRROR) if a in annotations)}
    addresses = tuple(str(item["ip"]) for item in status.get("podIPs") or () if item.get("ip"))
    return Pod(key_of(obj), frozenset(uids), metadata.get("labels") or {}, addresses, tuple(_named_ports(spec)))


def _named_ports(spec: Object) -> Iterable[NamedPort]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name"):
                yield NamedPort(str(port["name"]), str(port.get("protocol") or "TCP"), int(port["containerPort"]))
