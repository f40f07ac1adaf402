"""From pods, namespaces, policies and this node's attachments to set elements, step by step as they change. Pure.

A pod that comes or goes costs its own address; a policy or a pod of this node costs what is derived from the rules. The state
depends on what is known alone, not on the order in which it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from moorings_core.kernel.nftables.changes import Changes, Element
from moorings_core.ports.objects import Key

from . import layout
from .blocks import BITS, Blocks
from .counts import Count, Counters, counted
from .elements import CLOSED, SIDES, Class, Entries, Named, Suffix, Term, entries, suffixes, terms
from .model import PROTOCOLS, Block, Peer, Pod, Policy, Selector

NAMES = {number: name for name, number in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True)
class Local:
    """A pod that is wired on this node; uid is what its runtime says."""

    uid: str
    addresses: tuple[str, ...]


class Compiler:
    """What is known, and the elements that follow from it."""

    def __init__(self) -> None:
        self._pods: dict[Key, Pod] = {}
        self._by_namespace: dict[str, set[Key]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._policies: dict[str, dict[Key, Policy]] = {}
        self._local: dict[Key, Local] = {}
        self._rules: dict[Key, dict[str, Entries | None]] = {}
        self._terms: Class = frozenset()
        self._blocks = {version: Blocks((), version) for version in BITS}
        self._classes = _Classes()
        self._of_pod: dict[Key, dict[str, Class]] = {}
        self._claims: dict[str, dict[Key, int]] = {}
        self._of_local: dict[Key, dict[Element, bytes]] = {}
        self._pieces: dict[Element, bytes] = {}
        self._piece_classes: list[Class] = []
        self._elements = _Elements()
        self._stale_rules, self._stale_pods = False, set[Key]()

    @property
    def has_policies(self) -> bool:
        """Whether there is any policy."""
        return bool(self._policies)

    def policies(self, namespace: str) -> Mapping[Key, Policy]:
        """Return a namespace's policies."""
        return self._policies.get(namespace, {})

    def local(self, key: Key) -> Local | None:
        """Return how a pod is wired on this node, if it is."""
        return self._local.get(key)

    def set_policy(self, key: Key, policy: Policy | None) -> None:
        """Take in what a policy is now; None: it is gone."""
        mine = self._policies.setdefault(key.namespace, {})
        if mine.get(key) != policy:
            self._stale_rules = True
        if policy is not None:
            mine[key] = policy
        else:
            mine.pop(key, None)
        if not mine:
            del self._policies[key.namespace]

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Take in a namespace's labels; None: it is gone."""
        if self._namespaces.get(name) == labels:
            return
        if labels is None:
            del self._namespaces[name]
        else:
            self._namespaces[name] = labels
        self._stale_pods |= self._by_namespace.get(name, set())

    def set_pod(self, key: Key, pod: Pod | None) -> None:
        """Take in what a pod is now; None: it is gone, or none of ours."""
        if self._pods.get(key) == pod:
            return
        mine = self._by_namespace.setdefault(key.namespace, set())
        if pod is None:
            del self._pods[key]
            mine.discard(key)
            if not mine:
                del self._by_namespace[key.namespace]
        else:
            self._pods[key] = pod
            mine.add(key)
        self._stale_pods.add(key)
        self._stale_rules |= key in self._local

    def set_local(self, key: Key, local: Local | None) -> None:
        """Take in that a pod is wired on this node with these addresses, or (None) is not any more."""
        if self._local.get(key) == local:
            return
        if local is None:
            del self._local[key]
        else:
            self._local[key] = local
        self._stale_rules = True
        self._stale_pods.add(key)

    def count(self, counters: Counters) -> Iterator[Count]:
        """Yield what each policy has allowed to and denied each pod of this node, read off the elements' counters."""
        for key, local in self._local.items():
            pod = self._known(key, local)
            for direction, side in SIDES.items() if pod else ():
                mine = [p for p in self.policies(key.namespace).values() if pod and direction in p.types and p.selects(pod)]
                for policy in mine:
                    own = suffixes(entries(pod, [policy], direction) or CLOSED, self._classes.numbers) if pod else []
                    found = [counted(counters, side, *layout.address(a), own) for a in local.addresses]
                    yield Count(policy.key, key, direction, sum(a for a, _ in found), sum(d for _, d in found))

    def elements(self) -> dict[str, dict[bytes, bytes]]:
        """Return every element by set."""
        self._update()
        return self._elements.by_set()

    def changes(self) -> Changes:
        """Return what is to be changed since the last time."""
        self._update()
        return self._elements.take()

    def _update(self) -> None:
        before = dict(self._classes.numbers)
        expand = self._stale_rules
        if self._stale_rules:
            self._read_rules()
        for key in self._stale_pods:
            self._classify(key)
        self._stale_rules, self._stale_pods = False, set()
        if expand or before != self._classes.numbers:
            self._expand()

    def _read_rules(self) -> None:
        """Find out what each pod of this node may, and what has to be known about peers for that."""
        self._rules = {key: self._rules_of(key, local) for key, local in self._local.items()}
        wanted = terms(one for rules in self._rules.values() for one in rules.values() if one is not None)
        changed = wanted ^ self._terms
        self._terms = wanted
        if not changed:
            return
        blocks = {block for term in changed if isinstance(block := _peer(term), Block)}
        if blocks:
            self._cut(blocks)
        for term in changed:
            peer = _peer(term)
            if isinstance(peer, Selector) and peer.namespaces is None:
                self._stale_pods |= self._by_namespace.get(peer.namespace, set())
            else:
                self._stale_pods |= self._pods.keys()

    def _rules_of(self, key: Key, local: Local) -> dict[str, Entries | None]:
        if not self.policies(key.namespace):
            return dict.fromkeys(SIDES, None)
        pod = self._known(key, local)
        if pod is None:  # what it may is not known: nothing
            return dict.fromkeys(SIDES, CLOSED)
        return {direction: entries(pod, self.policies(key.namespace).values(), direction) for direction in SIDES}

    def _known(self, key: Key, local: Local) -> Pod | None:
        """Return the pod that is wired here: one of the same name that came after it is another."""
        pod = self._pods.get(key)
        return pod if pod is not None and (not local.uid or local.uid in pod.uids) else None

    def _cut(self, changed: set[Block]) -> None:
        peers = {_peer(term) for term in self._terms}
        for version in BITS:
            if not any(block.cidr.version == version for block in changed):
                continue
            self._blocks[version] = Blocks((p for p in peers if isinstance(p, Block)), version)
        old, self._piece_classes = self._piece_classes, []
        fresh: dict[Element, bytes] = {}
        for version, blocks in self._blocks.items():
            for piece in blocks.pieces:
                members: Class = frozenset(piece.blocks)
                self._piece_classes.append(members)
                fresh |= _bounds(version, piece.first, piece.last, self._classes.take(members))
        for members in old:
            self._classes.give(members)
        self._elements.replace(self._pieces, fresh)
        self._pieces = fresh

    def _classify(self, key: Key) -> None:
        """See to the classes of a pod's addresses."""
        pod, local = self._pods.get(key), self._local.get(key)
        addresses = pod.addresses if pod else ()
        if pod and local and self._known(key, local):
            addresses = tuple(dict.fromkeys((*local.addresses, *addresses)))
        fresh: dict[str, Class] = {}
        shared = self._met(pod) if pod and addresses else frozenset()
        for address in addresses:
            fresh[address] = self._class_at(pod, address, shared) if pod else frozenset()
        old = self._of_pod.pop(key, {})
        for address, members in fresh.items():
            self._claims.setdefault(address, {})[key] = self._classes.take(members)
        for address, members in old.items():
            self._classes.give(members)
            if address not in fresh:
                self._claims[address].pop(key, None)
        if fresh:
            self._of_pod[key] = fresh
        for address in fresh.keys() | old.keys():
            self._award(address)

    def _met(self, pod: Pod) -> Class:
        """Return the selectors that a pod meets."""
        labels = self._namespaces.get(pod.key.namespace)
        peers = {peer for term in self._terms if isinstance(peer := _peer(term), Selector)}
        return frozenset(peer for peer in peers if peer.matches(pod, labels))

    def _class_at(self, pod: Pod | None, address: str, selectors: Class) -> Class:
        found: set[Term] = {*selectors, *self._blocks[6 if ":" in address else 4].at(address)}
        met = found & self._terms
        for term in self._terms:
            if isinstance(term, Named) and pod and (term.peer is None or term.peer in found):
                met |= {term._replace(number=number) for number in pod.numbers(term.name, NAMES[term.protocol])}
        return frozenset(met)

    def _award(self, address: str) -> None:
        """Give an address the class of the pod that has it: where two say so, of the one on this node, then of the later name."""
        claims = self._claims.get(address, {})
        version, packed = layout.address(address)
        if not claims:
            self._claims.pop(address, None)
        winner = max(claims, key=lambda key: (address in self._addresses_here(key), key), default=None)
        number = claims[winner] if winner is not None else 0
        self._elements.put((f"peer{version}", packed), layout.class_key(number) if number else None)

    def _addresses_here(self, key: Key) -> tuple[str, ...]:
        local = self._local.get(key)
        return local.addresses if local else ()

    def _expand(self) -> None:
        cache: dict[Entries, list[Suffix]] = {}
        for key in self._of_local.keys() | self._local.keys():
            fresh: dict[Element, bytes] = {}
            for direction, allowed in self._rules.get(key, {}).items():
                if allowed is None:
                    continue
                if allowed not in cache:
                    cache[allowed] = suffixes(allowed, self._classes.numbers)
                for address in self._local[key].addresses:
                    fresh |= _pod_elements(SIDES[direction], address, cache[allowed])
            self._elements.replace(self._of_local.pop(key, {}), fresh)
            if fresh:
                self._of_local[key] = fresh


class _Classes:
    """The classes in use and their numbers, which count from 1; the empty class is 0 and never counted."""

    def __init__(self) -> None:
        self.numbers: dict[Class, int] = {}
        self._uses: dict[Class, int] = {}
        self._free: list[int] = []

    def take(self, members: Class) -> int:
        """Use a class once more and return its number."""
        if not members:
            return 0
        self._uses[members] = self._uses.get(members, 0) + 1
        if members not in self.numbers:
            self.numbers[members] = self._free.pop() if self._free else len(self.numbers) + 1
        return self.numbers[members]

    def give(self, members: Class) -> None:
        """Use a class once less."""
        if not members:
            return
        self._uses[members] -= 1
        if not self._uses[members]:
            del self._uses[members]
            self._free.append(self.numbers.pop(members))


class _Elements:
    """The elements, and which of them were touched since they were last taken."""

    def __init__(self) -> None:
        self._now: dict[Element, bytes] = {}
        self._before: dict[Element, bytes | None] = {}

    def put(self, element: Element, data: bytes | None) -> None:
        """Let an element be; None: not be."""
        self._before.setdefault(element, self._now.get(element))
        if data is None:
            self._now.pop(element, None)
        else:
            self._now[element] = data

    def replace(self, old: Iterable[Element], fresh: Mapping[Element, bytes]) -> None:
        """Let the fresh elements be in the place of the old ones."""
        for element in old:
            if element not in fresh:
                self.put(element, None)
        for element, data in fresh.items():
            self.put(element, data)

    def by_set(self) -> dict[str, dict[bytes, bytes]]:
        """Return all, and forget what was touched."""
        self._before = {}
        found: dict[str, dict[bytes, bytes]] = {}
        for (name, key), data in self._now.items():
            found.setdefault(name, {})[key] = data
        return found

    def take(self) -> Changes:
        """Return what was touched, and forget it."""
        changes = Changes()
        for element, before in self._before.items():
            changes.replace(element, before, self._now.get(element))
        for name in {name for name in (*changes.add, *changes.delete) if layout.is_whole(name)}:
            now = {key: data for (owner, key), data in self._now.items() if owner == name}
            added = {key for (owner, key), data in self._before.items() if owner == name and data is None}
            gone = {key for (owner, key), data in self._before.items() if owner == name and data is not None}
            layout.rewrite(changes, name, now, (now.keys() - added) | gone)
        self._before = {}
        return changes


def _peer(term: Term) -> Peer | None:
    return term.peer if isinstance(term, Named) else term


def _pod_elements(side: str, address: str, allowed: Iterable[Suffix]) -> dict[Element, bytes]:
    version, packed = layout.address(address)
    found: dict[Element, bytes] = {
        (f"{side}{version}", packed): b"", (f"{side}_drop{version}", packed): b"", (f"self{version}", packed * 2): b""
    }  # fmt: skip
    for kind, low, high in allowed:
        found[f"{side}_{kind}{version}", packed + low + (packed + high if high else b"")] = b""
    return found


def _bounds(version: int, first: int, last: int, number: int) -> dict[Element, bytes]:
    """Return what an interval is to the kernel: where it begins, and (unless that is past all addresses) where it has ended."""
    name, length = f"block{version}", BITS[version] // 8
    found = {(name, first.to_bytes(length, "big") + b"\0"): layout.class_key(number)}
    if last + 1 < 1 << BITS[version]:
        found[name, (last + 1).to_bytes(length, "big") + b"\1"] = b""
    return found
