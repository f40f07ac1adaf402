"""Exchange of the network transport on a running cluster: decentral, make before break, no packet lost.

Every node says in its Node object what it takes in (`network-accepts`) and what it may be sending by (`network-sends`). Two rules
keep them together, whatever the order of events and however old each node's view of the others is:

- announce first, act on a view that has the announcement in it: a node sends by a transport only after it has announced so and
  then still sees every live node accept it; it drops a transport only after it has announced that and then sees nobody who
  sends by it. The API orders all writes and a view is a prefix of that order, so of two conflicting steps one sees the other.
- accept before announcing acceptance.

`decide` is the goal on a given view, `next_step` the one step that is safe now; both are pure. `NetworkExchange` does the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from moorings_core.ports.network import ACCEPTS, SENDS
from moorings_core.ports.objects import Object


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a node has announced. live: its agent is running, so that what it announces is going to be kept."""

    name: str
    live: bool = True
    accepts: frozenset[str] = frozenset()
    sends: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """Where this node should be going: what to take in, and what to send by ("" while nothing is safe)."""

    accept: frozenset[str]
    send: str


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now, in this order; "" and empty sets are nothing to do.

    accept, withdraw: transports; send: the transport to carry by; announce_*: what the Node has to say afterwards.
    """

    accept: frozenset[str] = frozenset()
    send: str = ""
    withdraw: frozenset[str] = frozenset()
    announce_accepts: frozenset[str] = frozenset()
    announce_sends: frozenset[str] = frozenset()


@dataclass(slots=True)
class Actual:
    """What this node really does. accepts ⊇ what it announces."""

    accepts: set[str] = field(default_factory=set)
    sends: str = ""


def decide(desired: str, nodes: Sequence[NodeView], self_name: str, now: str = "") -> Decision:
    """Return where node self_name should be going. Pure.

    It accepts the desired transport and every one that any node may be sending by (a node whose agent is dead may still
    forward). It sends by the desired one once every live node accepts it; until then by what it sends by `now`; a node that
    sends by nothing yet takes any that all accept.
    """
    accept = frozenset({desired}).union(*(node.sends for node in nodes))
    common = _accepted_by_all(nodes)
    if desired in common:
        return Decision(accept, desired)
    if now:
        return Decision(accept, now)
    mine = next((node.sends for node in nodes if node.name == self_name), frozenset())
    choices = sorted(mine & common) or sorted(accept & common)
    return Decision(accept, choices[0] if choices else "")


def next_step(desired: str, nodes: Sequence[NodeView], self_name: str, actual: Actual) -> Step:
    """Return what is safe to do on this view, which must contain everything that this node has announced. Pure."""
    mine = next((node for node in nodes if node.name == self_name), NodeView(self_name))
    goal = decide(desired, nodes, self_name, actual.sends)
    unwanted = frozenset(actual.accepts) - goal.accept
    sends = frozenset(filter(None, (actual.sends, goal.send)))
    send = goal.send if goal.send in mine.sends and goal.send in _accepted_by_all(nodes) else ""
    if send or goal.send == actual.sends:
        sends = frozenset(filter(None, (goal.send,)))
    elif not actual.sends:
        sends |= mine.sends  # after a restart: what the kernel still does is one of these
    return Step(
        accept=goal.accept - frozenset(actual.accepts),
        send=send if send != actual.sends else "",
        withdraw=unwanted - mine.accepts,
        announce_accepts=goal.accept,
        announce_sends=sends,
    )


def _accepted_by_all(nodes: Sequence[NodeView]) -> frozenset[str]:
    live = [node.accepts for node in nodes if node.live]
    return frozenset.intersection(*live) if live else frozenset()


def view_of(node: Object) -> NodeView:
    """Return what a Node object announces. Pure.

    A node counts as live unless its Ready condition is Unknown (its lease ran out). One that is not ready and has announced
    nothing has no pods that could be reached; one that is ready without announcing is waited for.
    """
    metadata = node["metadata"]
    annotations = metadata.get("annotations") or {}
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = next((str(c.get("status")) for c in conditions if c.get("type") == "Ready"), "False")
    announced = ACCEPTS in annotations
    live = ready == "True" or (ready == "False" and announced)
    return NodeView(metadata["name"], live, listed(annotations.get(ACCEPTS)), listed(annotations.get(SENDS)))


def listed(text: str | None) -> frozenset[str]:
    """Return the names in a comma-separated annotation."""
    return frozenset(part.strip() for part in (text or "").split(",") if part.strip())


def joined(names: Iterable[str]) -> str:
    """Return names as an annotation's value."""
    return ",".join(sorted(names))
