"""Leader election by Lease: of several processes of one name one works, the others wait to take over.

Only monotonic time is compared: a candidate measures how long it has itself seen a lease unchanged, so skewed wall clocks
cannot make two leaders (client-go tools/leaderelection). A leader that cannot renew within `renew` seconds stops its work before
anybody else may begin, as renew < duration.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError, NotFound
from moorings_core.ports.objects import Object

from .resources import LEASES

log = get_logger(__name__)


class Elector:
    """A candidate. All times in seconds; upstream's defaults."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        *,
        namespace: str = "kube-system",
        duration: float = 15,
        renew: float = 10,
        retry: float = 2,
    ) -> None:
        if not 0 < retry < renew < duration:
            raise ValueError("0 < retry < renew < duration must hold")
        self._client, self._name, self._identity, self._namespace = client, name, identity, namespace
        self._duration, self._renew, self._retry = duration, renew, retry
        self._seen: tuple[str, str, int] | None = None
        self._seen_at = 0.0
        self.leading = asyncio.Event()

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Campaign until cancelled or work ends; run work whenever elected, cancel it when the lease is lost."""
        while True:
            await self._acquire()
            log.info("leading", lease=self._name, identity=self._identity)
            self.leading.set()
            task, keeper = asyncio.ensure_future(work()), asyncio.ensure_future(self._keep())
            try:
                await asyncio.wait([task, keeper], return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    task.result()
                    return
                log.warning("lost the lease", lease=self._name, identity=self._identity)
            finally:
                self.leading.clear()
                for each in (task, keeper):
                    each.cancel()
                await asyncio.gather(task, keeper, return_exceptions=True)
                await self._release()

    async def _acquire(self) -> None:
        while not await self._attempt():
            await asyncio.sleep(self._retry)

    async def _keep(self) -> None:
        """Renew until it fails for too long."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(self._retry)
            began = loop.time()
            try:
                async with asyncio.timeout_at(renewed + self._renew):
                    if await self._attempt():
                        renewed = began  # what counts is when the others may have seen it first
            except TimeoutError:
                return
            if loop.time() - renewed >= self._renew or (self._seen and self._seen[0] != self._identity):
                return

    async def _attempt(self) -> bool:
        """Take or renew the lease once; return whether it is ours now."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            return await self._write(None)
        except (ApiError, OSError) as error:
            log.warning("lease not read", lease=self._name, error=str(error))
            return False
        self._observe(lease)
        holder = lease.get("spec", {}).get("holderIdentity") or ""
        expired = asyncio.get_running_loop().time() - self._seen_at > self._duration
        if holder and holder != self._identity and not expired:
            return False
        return await self._write(lease)

    def _observe(self, lease: Object) -> None:
        spec = lease.get("spec", {})
        record = (str(spec.get("holderIdentity") or ""), str(spec.get("renewTime")), int(spec.get("leaseTransitions") or 0))
        if record != self._seen:
            self._seen, self._seen_at = record, asyncio.get_running_loop().time()

    async def _write(self, lease: Object | None) -> bool:
        old = (lease or {}).get("spec", {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = old.get("holderIdentity") == self._identity
        spec: Object = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "acquireTime": old.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours or lease is None else 1),
        }
        try:
            if lease is None:
                metadata = {"name": self._name, "namespace": self._namespace}
                kind = {"apiVersion": LEASES.api_version, "kind": LEASES.kind}
                lease = await self._client.create(LEASES, {**kind, "metadata": metadata, "spec": spec})
            else:
                lease = await self._client.update(LEASES, {**lease, "spec": {**old, **spec}})
        except (ApiError, OSError) as error:
            log.debug("lease not written", lease=self._name, error=str(error))
            return False
        self._observe(lease)
        return True

    async def _release(self) -> None:
        """Let the next one in at once; if that fails it waits for the lease to run out."""
        try:
            async with asyncio.timeout(self._retry):
                lease = await self._client.get(LEASES, self._name, self._namespace)
                if lease.get("spec", {}).get("holderIdentity") == self._identity:
                    await self._client.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        except (ApiError, OSError, TimeoutError) as error:
            log.debug("lease not released", lease=self._name, error=str(error))
