"""Pods that have a node and wait until their claims are bound: what ends the wait of which pod. Pure.

A wait ends when every claim is bound, when one is gone, or when its provisioner has given the node back: nothing could be made there.
"""

from __future__ import annotations

from collections.abc import Iterable

from moorings_core.ports.objects import Key, Object

from .volumes import SELECTED_NODE, is_bound


class Held:
    """The waiting pods by what they wait for."""

    def __init__(self) -> None:
        self._claims: dict[Key, set[Key]] = {}
        self._pods: dict[Key, dict[Key, str]] = {}

    def put(self, pod: Key, node: str, claims: Iterable[Key]) -> None:
        """Let a pod wait for claims that are to be made for a node."""
        self.drop(pod)
        self._claims[pod] = set(claims)
        for claim in self._claims[pod]:
            self._pods.setdefault(claim, {})[pod] = node

    def drop(self, pod: Key) -> None:
        """Forget a pod."""
        for claim in self._claims.pop(pod, ()):
            self._settle(claim, pod)

    def changed(self, claim: Key, old: Object | None, new: Object | None) -> list[Key]:
        """Take in a change of a claim; return the pods whose wait it ends."""
        ended = []
        for pod, node in list(self._pods.get(claim, {}).items()):
            if new is None or _is_given_back(old, new, node):
                self.drop(pod)
                ended.append(pod)
            elif is_bound(new) and (new.get("status") or {}).get("phase") == "Bound":  # a node mounts none before its status says so
                self._settle(claim, pod)
                self._claims[pod].discard(claim)
                if not self._claims[pod]:
                    del self._claims[pod]
                    ended.append(pod)
        return ended

    def _settle(self, claim: Key, pod: Key) -> None:
        pods = self._pods[claim]
        del pods[pod]
        if not pods:
            del self._pods[claim]


def _is_given_back(old: Object | None, new: Object, node: str) -> bool:
    """Whether a claim was meant for a node and is so no more; one that is not known yet to be meant for it is not."""
    return old is not None and _node(old) == node != _node(new)


def _node(claim: Object) -> str:
    return str((claim["metadata"].get("annotations") or {}).get(SELECTED_NODE) or "")
