"""Policies, pods and namespaces by hypothesis; and what the kernel's rule set makes of elements, in a few lines of Python."""

import sys

from hypothesis import strategies as st

from moorings_cni.policy import layout
from moorings_cni.policy.compiler import Compiler, Local
from moorings_cni.policy.model import NamedPort, Pod, policy_of
from moorings_core.ports.objects import Key

NAMESPACES, NAMES = ("x", "y", "z"), ("a", "b", "c")
PORTS = (79, 80, 81, 90, 95, 99, 100)
BLOCKS = ("10.64.0.0/16", "10.64.1.0/24", "10.64.1.2/32", "0.0.0.0/0", "192.0.2.0/24", "fd00::/16", "fd00:1::/64")
EXCEPTS = {
    "10.64.0.0/16": ["10.64.1.0/24", "10.64.1.2/32"], "0.0.0.0/0": ["10.64.0.0/17", "192.0.2.128/25"], "fd00::/16": ["fd00:1::/64"]
}  # fmt: skip
OUTSIDE = ("192.0.2.1", "192.0.2.200", "198.51.100.1", "fd00:9::1", "2001:db8::1")

pod_labels = st.fixed_dictionaries({"pod": st.sampled_from(NAMES)}, optional={"tier": st.sampled_from(["front", "back"])})
selector = st.one_of(
    st.just({}),
    st.builds(lambda v: {"matchLabels": {"pod": v}}, st.sampled_from(NAMES)),
    st.builds(lambda v: {"matchLabels": {"tier": v}}, st.sampled_from(["front", "back"])),
    st.builds(
        lambda k, o, v: {"matchExpressions": [{"key": k, "operator": o, **({"values": v} if "In" in o else {})}]},
        st.sampled_from(["pod", "tier"]), st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
        st.lists(st.sampled_from([*NAMES, "front"]), min_size=1, max_size=2),
    ),
)  # fmt: skip
namespace_selector = st.one_of(st.just({}), st.builds(lambda v: {"matchLabels": {"ns": v}}, st.sampled_from(NAMESPACES)))


@st.composite
def block(draw):
    cidr = draw(st.sampled_from(BLOCKS))
    return {"ipBlock": {"cidr": cidr, "except": draw(st.lists(st.sampled_from(EXCEPTS[cidr]), max_size=2)) if cidr in EXCEPTS else []}}


peer = st.one_of(
    block(),
    st.builds(lambda p: {"podSelector": p}, selector),
    st.builds(lambda n: {"namespaceSelector": n}, namespace_selector),
    st.builds(lambda n, p: {"namespaceSelector": n, "podSelector": p}, namespace_selector, selector),
)
port = st.one_of(
    st.builds(lambda p: {"protocol": p}, st.sampled_from(["TCP", "UDP", "SCTP"])),
    st.builds(lambda p, n: {"protocol": p, "port": n}, st.sampled_from(["TCP", "UDP"]), st.sampled_from([*PORTS, "http", "dns"])),
    st.builds(lambda n, more: {"port": n, "endPort": n + more}, st.sampled_from(PORTS), st.integers(0, 20)),
)
ports = st.lists(port, max_size=3)
ingress = st.builds(lambda f, p: {"from": f, "ports": p}, st.lists(peer, max_size=2), ports)
egress = st.builds(lambda t, p: {"to": t, "ports": p}, st.lists(peer, max_size=2), ports)
types = st.one_of(st.none(), st.lists(st.sampled_from(["Ingress", "Egress"]), min_size=1, max_size=2, unique=True))


@st.composite
def policy(draw):
    spec = {"podSelector": draw(selector), "policyTypes": draw(types)}
    spec |= {"ingress": draw(st.lists(ingress, max_size=2)), "egress": draw(st.lists(egress, max_size=2))}
    return spec


def address(namespace: str, name: str, six: bool = False) -> str:
    pair = NAMESPACES.index(namespace), NAMES.index(name) + 1
    return "fd00:{}::{}".format(*pair) if six else "10.64.{}.{}".format(*pair)


@st.composite
def pod(draw, namespace: str, name: str):
    numbers = draw(st.sampled_from([(), (("http", "TCP", 80),), (("http", "TCP", 81), ("dns", "UDP", 90))]))
    addresses = tuple(address(namespace, name, six) for six in (False, True)[: draw(st.integers(1, 2))])
    return Pod(Key(namespace, name), frozenset({f"u-{name}"}), draw(pod_labels), addresses, tuple(NamedPort(*n) for n in numbers))


def parsed(namespace: str, name: str, spec):
    return policy_of({"metadata": {"namespace": namespace, "name": name}, "spec": spec})


def wire_up(compiler: Compiler, one: Pod) -> None:
    compiler.set_local(one.key, Local(next(iter(one.uids)), one.addresses))


class Kernel:
    """What `layout`'s rules say about a packet, read off the elements alone."""

    def __init__(self, elements) -> None:
        self.elements = elements

    def passes(self, source: str, target: str, protocol: int, port: int) -> bool:
        return self._side("out", source, target, protocol, port) and self._side("in", target, source, protocol, port)

    def _side(self, side: str, mine: str, other: str, protocol: int, port: int) -> bool:
        version, key = layout.address(mine)
        if key not in self._set(f"{side}{version}") or key + layout.address(other)[1] in self._set(f"self{version}"):
            return True
        classes = self._class(other), layout.class_key(layout.ANY)
        found = any(self._allowed(f"{side}_", version, key, number, protocol, port) for number in classes)
        assert found or key in self._set(f"{side}_drop{version}")
        return found

    def _allowed(self, side: str, version: int, address: bytes, number: bytes, protocol: int, port: int) -> bool:
        key, tail = address + number, layout.port_key(protocol, port)
        turned = address + number[::-1] + tail if sys.byteorder == "little" else key + tail
        same = len(turned) - len(tail)
        ranges = ((both[: len(turned)], both[len(turned) :]) for both in self._set(f"{side}range{version}"))
        inside = any(low[:same] == turned[:same] and low <= turned <= high for low, high in ranges)
        return key in self._set(f"{side}all{version}") or key + tail in self._set(f"{side}port{version}") or inside

    def _class(self, other: str) -> bytes:
        version, key = layout.address(other)
        found = self._set(f"peer{version}").get(key)
        return found if found is not None else self._block(version, key)

    def _block(self, version: int, key: bytes) -> bytes:
        at, data = b"", layout.class_key(0)
        for bound, value in self._set(f"block{version}").items():
            # At one bound an end comes before a beginning.
            place = bound[:-1] + bytes([1 - bound[-1]])
            if bound[:-1] <= key and place > at:
                at, data = place, value or layout.class_key(0)
        return data

    def _set(self, name: str):
        return self.elements.get(name, {})
