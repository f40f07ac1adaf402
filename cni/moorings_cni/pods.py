"""Pods on this node: `ports.network.Network` over IPAM, wiring and port rules. Crash-only: `recover` is the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol

from moorings_core.kernel import rtnetlink
from moorings_core.kernel.namespaces import is_netns
from moorings_core.kernel.rtnetlink import RtnetlinkError
from moorings_core.log import get_logger
from moorings_core.ports.network import Attachment, AttachmentKey, NetworkError, NotReady, PodRequest

from . import wiring
from .ipam import Ipam
from .masquerade import Masquerade
from .wiring import key_text

log = get_logger(__name__)


class Gate(Protocol):
    """Who may say what a pod may send and receive: see `policy.follow.PolicyKeeper`."""

    async def admit(self, attachment: Attachment) -> None:
        """Return when what holds for a pod that is being wired is enforced. Raises NetworkError."""

    async def forget(self, attachment: Attachment) -> None:
        """Take away what a pod had that is not wired any more."""


class PodNetwork:
    """The attachments of this node. Work on the kernel is done in threads; one key is handled by one caller at a time."""

    def __init__(self, ipam: Ipam, masquerade: Masquerade, gate: Gate | None = None) -> None:
        self.ipam, self.masquerade = ipam, masquerade
        self._gate = gate
        self.on_reserve: Callable[[], None] = lambda: None
        """Called when an address has been asked for, whether or not there was one."""
        self.mtu = 0
        self._locks: dict[str, asyncio.Lock] = {}
        self._wiring: set[AttachmentKey] = set()

    @property
    def ranges(self) -> Sequence[str]:
        """The node's pod ranges."""
        return self.ipam.cidrs

    async def status(self) -> None:
        """Raises NotReady without a range, without an MTU, without a free address."""
        if not self.ipam.cidrs:
            raise NotReady("this node has no pod range yet")
        if not self.mtu:
            raise NotReady("the link between nodes was not found yet")
        if self.ipam.free <= 0:
            raise NotReady(f"no address left in {', '.join(self.ipam.cidrs)}")

    async def attach(self, pod: PodRequest) -> Attachment:
        """Reserve, write down, wire; undone in reverse when a step fails. Raises NetworkError."""
        async with self._lock(pod.key):
            if not self.mtu:
                await self.status()
            try:
                attachment = self._reserve(pod)
            finally:
                self.on_reserve()
            try:
                await self._wire(attachment)
            except (RtnetlinkError, OSError, NetworkError) as error:
                await asyncio.to_thread(self._undo, attachment)
                raise NetworkError(f"{key_text(pod.key)}: {error}") from error
            finally:
                self._wiring.discard(pod.key)
            return attachment

    async def detach(self, key: AttachmentKey) -> None:
        """Unwire, then give the address back: in that order, so that it is never on two pods."""
        async with self._lock(key):
            attachment = self.ipam.get(key)
            if attachment is None:
                return
            await asyncio.to_thread(self._unwire, attachment)
            if self._gate:
                await self._gate.forget(attachment)

    async def check(self, key: AttachmentKey) -> Attachment:
        """Compare everything of an attachment with the kernel. Raises NetworkError."""
        async with self._lock(key):
            return await asyncio.to_thread(self._check, key)

    async def collect(self, valid: Collection[AttachmentKey]) -> None:
        """Detach what is not valid, going on after failures. Raises NetworkError with all of them."""
        failures: list[str] = []
        for key in set(self.ipam.attachments) - set(valid):
            try:
                await self.detach(key)
                log.info("stale attachment removed", attachment=key_text(key))
            except (NetworkError, RtnetlinkError, OSError) as error:
                failures.append(f"{key_text(key)}: {error}")
        if failures:
            raise NetworkError("; ".join(failures))

    async def recover(self) -> None:
        """Free what did not survive: attachments without host link or netns, links without attachment."""
        await asyncio.to_thread(self._sweep_orphans)
        await self.sweep()

    async def sweep(self) -> None:
        """Detach pods whose network namespace is gone: their runtime will not ask any more."""
        gone = await asyncio.to_thread(self._vanished)
        for key in gone:
            log.info("network namespace is gone", attachment=key_text(key))
            await self.detach(key)

    async def repair(self) -> None:
        """Put back what somebody took from the node's ends of live attachments."""
        done = await asyncio.to_thread(self._repair)
        if done:
            log.warning("pod wiring was changed by somebody, repaired", count=len(done), first=done[0])

    def _lock(self, key: AttachmentKey) -> asyncio.Lock:
        if len(self._locks) > 1000:
            self._locks = {name: lock for name, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(key.container_id, asyncio.Lock())

    def _reserve(self, pod: PodRequest) -> Attachment:
        wiring.check_netns(pod.netns)
        if pod.foreign:
            slot, addresses = self.ipam.reserve_foreign(pod.key), pod.addresses
        else:
            if not pod.wire:
                self._lend()
            slot, addresses = self.ipam.reserve(pod.key, addresses=pod.addresses, ranges=pod.ranges, pod=pod.pod)
        self._wiring.add(pod.key)
        attachment = wiring.plan(pod, slot, addresses, self.mtu)
        return attachment if pod.wire else replace(attachment, host_link="")

    def _lend(self) -> None:
        if not self.ipam.lends:
            self.ipam.keep_gateway()
            with rtnetlink.connect() as node:
                node.apply([rtnetlink.delete_route(wiring.range_route(cidr)) for cidr in self.ipam.cidrs])

    async def _wire(self, attachment: Attachment) -> None:
        """Wire a pod while its policies are found out: it runs, and sends, only when both are done. Raises what either does."""
        admitted = asyncio.create_task(self._gate.admit(attachment)) if self._gate else None
        try:
            await asyncio.to_thread(self._attach, attachment)
        except BaseException:
            if admitted:
                admitted.cancel()
            raise
        if admitted:
            await admitted

    def _attach(self, attachment: Attachment) -> None:
        position = self.ipam.record(attachment)
        if attachment.host_link:
            wiring.wire(attachment)
        self.masquerade.open_ports(attachment)
        self.ipam.sync(position)

    def _undo(self, attachment: Attachment) -> None:
        """Leave nothing of a failed attach. What cannot be undone stays written down, for DEL to try again."""
        try:
            self._unwire(attachment)
        except (RtnetlinkError, OSError, NetworkError) as error:
            log.warning("failed attachment not undone", attachment=key_text(attachment.key), error=error)

    def _unwire(self, attachment: Attachment) -> None:
        self.masquerade.close_ports(attachment)
        if attachment.host_link:
            wiring.unwire(attachment)
        self.ipam.release(attachment.key)

    def _check(self, key: AttachmentKey) -> Attachment:
        attachment = self.ipam.get(key)
        if attachment is None:
            raise NetworkError(f"{key_text(key)} is not attached")
        wrong: list[str] = []
        if attachment.host_link:
            with rtnetlink.connect() as node:
                wrong = wiring.host_differences(attachment, node)
            wrong += wiring.pod_differences(attachment)
        wrong += [] if self.masquerade.intact() else ["the pod rules in nftables were changed"]
        if wrong:
            raise NetworkError(f"{key_text(key)}: {'; '.join(wrong)}")
        return attachment

    def _sweep_orphans(self) -> None:
        known = {a.host_link for a in self.ipam.attachments.values()}
        names = wiring.orphans(sorted(known))
        with rtnetlink.connect() as node:
            node.apply([rtnetlink.delete_link(name=name) for name in names])
            links = {link.name for link in node.links()}
        if names:
            log.info("orphan links removed", count=len(names))
        for attachment in self.ipam.attachments.values():
            if attachment.host_link and attachment.host_link not in links:
                log.info("attachment without link released", attachment=key_text(attachment.key))
                self._unwire(attachment)

    def _vanished(self) -> Sequence[AttachmentKey]:
        settled = [a for a in self.ipam.attachments.values() if a.key not in self._wiring]
        return [a.key for a in settled if not is_netns(a.netns)]

    def _repair(self) -> Sequence[str]:
        settled = [a for a in self.ipam.attachments.values() if a.host_link and a.key not in self._wiring]
        return wiring.repair(settled, () if self.ipam.lends else self.ipam.cidrs)
