"""Writes pod statuses: the newest wanted one of each pod, beside the work on the pod, again until the API has it.

Only the agent's own conditions are sent, merged by type: what schedulers and readiness gates write stays theirs.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from moorings_core.client.keyed import KeyedWorker
from moorings_core.client.resources import PODS
from moorings_core.ports.client import Client
from moorings_core.ports.errors import Conflict, NotFound
from moorings_core.ports.objects import Object

from .status import OWN_CONDITIONS

Latest = Callable[[str], Object | None]
"""latest(uid) -> the pod as the API last told it, or None"""
AT_ONCE = 16


class StatusWriter:
    """The statuses of this node's pods on their way to the API."""

    def __init__(self, client: Client, latest: Latest) -> None:
        self._client, self._latest = client, latest
        self._wanted: dict[str, Object] = {}
        self._written: dict[str, Object] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._work: KeyedWorker[str] = KeyedWorker("pod status", self._write, at_once=AT_ONCE)

    async def run(self) -> None:
        """Write until cancelled."""
        await self._work.run()

    def base(self, pod: Object) -> Object:
        """Return a pod with the status to go on from: the one last wanted, with everybody else's conditions of now."""
        latest = self._latest(pod["metadata"]["uid"]) or pod
        status = latest.get("status") or {}
        wanted = self._wanted.get(pod["metadata"]["uid"])
        if wanted is None:
            return {**pod, "status": status}
        if status.get("phase") in ("Succeeded", "Failed"):
            wanted = {**wanted, **{k: status[k] for k in ("phase", "reason", "message") if k in status}}
        foreign = [c for c in status.get("conditions", ()) if c["type"] not in OWN_CONDITIONS]
        return {**pod, "status": {**wanted, "conditions": [*_own(wanted), *foreign]}}

    def want(self, pod: Object, status: Object) -> None:
        """Have a status written soon, if it is not the one that is there."""
        uid = pod["metadata"]["uid"]
        known = self._written.get(uid) or (self._latest(uid) or pod).get("status") or {}
        if all(known.get(k) == v for k, v in status.items() if k != "conditions") and _own(known) == _own(status):
            self._written.setdefault(uid, status)
            self._wanted[uid] = status
            return
        self._wanted[uid] = status
        self._work.add(uid)

    async def flush(self, pod: Object) -> None:
        """Write what is wanted of a pod now. Raises ApiError."""
        await self._write(pod["metadata"]["uid"], pod)

    def forget(self, uid: str) -> None:
        """Drop what is kept of a pod that is gone."""
        for kept in (self._wanted, self._written, self._locks):
            kept.pop(uid, None)

    async def _write(self, uid: str, pod: Object | None = None) -> None:
        pod = pod or self._latest(uid)
        if pod is None or uid not in self._wanted:
            return
        async with self._locks[uid]:
            status = self._wanted.get(uid)
            if status is None or status == self._written.get(uid):
                return
            metadata = pod["metadata"]
            patch = {"metadata": {"uid": uid}, "status": _as_patch(status, (self._latest(uid) or pod).get("status") or {})}
            try:
                await self._client.patch(PODS, metadata["name"], metadata["namespace"], patch, type="strategic", subresource="status")
            except NotFound:
                return
            except Conflict:
                if (latest := self._latest(uid)) is None or latest["metadata"]["uid"] != uid:
                    return  # another pod has the name by now
                raise
            self._written[uid] = status


def _own(status: Object) -> list[Object]:
    return [c for c in status.get("conditions", ()) if c["type"] in OWN_CONDITIONS]


def _as_patch(status: Object, known: Object) -> Object:
    """Addresses would merge by their value: they replace. A condition merges with the one before: what it says no more is null.

    A condition that is there and not wanted any more is deleted.
    """
    own = _own(status)
    over = [{"type": c["type"], "$patch": "delete"} for c in _own(known) if c["type"] not in {o["type"] for o in own}]
    lists: Object = {field: [*status[field], {"$patch": "replace"}] for field in ("podIPs", "hostIPs") if field in status}
    return {**status, **lists, "conditions": [*({"reason": None, "message": None, **c} for c in own), *over]}
