"""Under which address the pods of a namespace are seen outside of the cluster: what the namespace asks for, where a node has it.

A Namespace's annotation `moorings.dev/egress-addresses` lists addresses, which whoever runs the machines has given to nodes, one
to a node and IP version: a firewall outside then knows the namespace by them. A node takes the first in the list that is on one
of its links. On a node without any, pods are seen under the node's address, as all others are, and a warning is logged.
Connections that exist keep the address that they began with. IPv6 addresses have to be deprecated ones (`ip address add ...
preferred_lft 0`): the kernel's own choice for everybody else may fall on them otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address

from moorings_core.kernel import rtnetlink
from moorings_core.log import get_logger
from moorings_core.ports.objects import Object

log = get_logger(__name__)
EGRESS = "moorings.dev/egress-addresses"
Sources = dict[str, tuple[str, ...]]
"""Namespace -> at most one address of each IP version."""
_said: set[tuple[str, str]] = set()


def sources(namespaces: Iterable[Object], have: Collection[str]) -> Sources:
    """Return what the namespaces' pods are seen as from a node with these addresses. Pure, but for what it logs once."""
    found: Sources = {}
    for namespace in namespaces:
        name, text = namespace["metadata"]["name"], asked(namespace)
        if text:
            mine = {ip_address(a).version: a for a in reversed(_addresses(name, text)) if a in have}
            if mine:
                found[name] = tuple(mine[version] for version in sorted(mine))
            else:
                _say(name, text, "no address of the namespace is on this node: its pods leave under the node's")
    return found


def asked(namespace: Object) -> str:
    """Return what a namespace asks for; "" for nothing."""
    return str((namespace["metadata"].get("annotations") or {}).get(EGRESS) or "")


def own_addresses() -> set[str]:
    """Return the addresses of this network namespace's links."""
    with rtnetlink.connect() as connection:
        return {str(entry.address.ip) for entry in connection.addresses()}


def _addresses(name: str, text: str) -> list[str]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(str(ip_address(part)))
        except ValueError:
            _say(name, text, f"{EGRESS}: {part!r} is no address, addresses separated by commas are expected")
    return found


def _say(namespace: str, text: str, problem: str) -> None:
    if (namespace, text) not in _said:
        _said.add((namespace, text))
        log.warning("egress address not used", namespace=namespace, problem=problem)
