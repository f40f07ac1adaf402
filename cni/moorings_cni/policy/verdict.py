"""What policies mean for one connection, with reasons: slow and obvious. `moorings policy trace` says it, tests compare with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moorings_core.ports.objects import Key

from .model import EGRESS, INGRESS, Block, Peer, Pod, Policy, Port, Rule

Labels = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: an address, and the pod that has it if it is a pod's."""

    address: str
    pod: Pod | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a direction is allowed; isolating: the policies that isolate the pod; allowing: those of them that allow this."""

    direction: str
    allowed: bool
    isolating: tuple[Key, ...] = ()
    allowing: tuple[Key, ...] = ()

    def reason(self) -> str:
        """Return in words what decides."""
        if not self.isolating:
            return "no policy isolates the pod in this direction"
        if self.allowing:
            return f"allowed by {', '.join(map(str, self.allowing))}"
        if self.allowed:
            return "a pod always reaches itself"
        return f"isolated by {', '.join(map(str, self.isolating))}; no rule of theirs allows it"


def judge(source: End, target: End, protocol: str, port: int, policies: Sequence[Policy], namespaces: Labels) -> tuple[Verdict, Verdict]:
    """Return the verdicts on leaving the source (Egress) and on entering the target (Ingress); both have to allow.

    policies are those of every namespace; namespaces: name -> labels. port is the target's own, after translation; protocol
    "" is one without ports, such as ICMP.
    """
    way = _Way(protocol, port, target, namespaces)
    leaving = way.judge(EGRESS, source, target, policies)
    return leaving, way.judge(INGRESS, target, source, policies)


@dataclass(frozen=True, slots=True)
class _Way:
    protocol: str
    port: int
    target: End
    namespaces: Labels

    def judge(self, direction: str, subject: End, peer: End, policies: Iterable[Policy]) -> Verdict:
        if subject.pod is None:
            return Verdict(direction, True)
        mine = [p for p in policies if direction in p.types and p.selects(subject.pod)]
        allowing = [p.key for p in mine if any(self._allows(rule, peer) for rule in p.rules(direction))]
        itself = subject.address == peer.address
        return Verdict(direction, not mine or bool(allowing) or itself, tuple(sorted(p.key for p in mine)), tuple(sorted(allowing)))

    def _allows(self, rule: Rule, peer: End) -> bool:
        peers = not rule.peers or any(self._meant(one, peer) for one in rule.peers)
        return peers and (not rule.ports or any(self._open(port) for port in rule.ports))

    def _meant(self, one: Peer, peer: End) -> bool:
        if isinstance(one, Block):
            return one.matches(peer.address)
        return peer.pod is not None and one.matches(peer.pod, self.namespaces.get(peer.pod.key.namespace))

    def _open(self, port: Port) -> bool:
        if port.protocol != self.protocol:
            return False
        if port.name:
            return self.target.pod is not None and self.port in self.target.pod.numbers(port.name, port.protocol)
        return port.first <= self.port <= port.last
