"""The half beside the API server: gives Services addresses and writes them into their status."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence

from moorings_core.client.informer import Informer
from moorings_core.client.resources import EVENTS, SERVICES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.cloud import LoadBalancer, Operation
from moorings_core.ports.errors import ApiError, Conflict, NotFound
from moorings_core.ports.objects import Key, Object

from .allocate import assign, ingress, is_ours, plan, present
from .pools import Pool

log = get_logger(__name__)
COALESCE, RETRY = 0.01, 1.0
SOURCE = "moorings-metal"


class MetalController:
    """Keeps Service statuses at what the plan says. Level-triggered: any change of a Service, then everything is compared."""

    def __init__(self, client: Client, pools: Sequence[Pool]) -> None:
        self._client, self._pools = client, pools
        self._services = Informer(client, SERVICES)
        self._woken = asyncio.Event()
        self._told: dict[Key, str] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run())
            await self._services.synced(timeout=3600)
            self._services.on_change(self._changed)
            self._woken.set()
            while True:
                await self._woken.wait()
                await asyncio.sleep(COALESCE)
                self._woken.clear()
                if not await self._reconcile():
                    await asyncio.sleep(RETRY)
                    self._woken.set()

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if any(obj is not None and (is_ours(obj) or ingress(obj)) for obj in (old, new)):
            self._woken.set()

    async def actual(self) -> Sequence[LoadBalancer]:
        """Return what the Services have."""
        return present(self._services.items.values())

    def plan(self, desired: Sequence[LoadBalancer], actual: Sequence[LoadBalancer]) -> Sequence[Operation[LoadBalancer]]:
        """Return the changes of status. Pure."""
        return plan(desired, actual)

    async def apply(self, operation: Operation[LoadBalancer]) -> None:
        """Write one status. Raises ApiError; Conflict when the Service has changed since it was read."""
        item = operation.item
        addresses = [{"ip": a, "ipMode": "VIP"} for a in item.addresses]
        patch = {
            "metadata": {"resourceVersion": item.version},
            "status": {"loadBalancer": {"ingress": addresses or None}},
        }
        await self._client.patch(SERVICES, item.service.name, item.service.namespace, patch, subresource="status")
        log.info("address", service=item.service, verb=operation.verb, addresses=",".join(item.addresses))

    async def _reconcile(self) -> bool:
        """Apply the plan; return whether all of it succeeded."""
        actual = await self.actual()
        desired = assign(actual, self._pools)
        done = True
        for operation in self.plan(desired, actual):
            try:
                await self.apply(operation)
                if operation.item.addresses:
                    await self._event(operation.item, "Normal", "IPAllocated", f"Assigned IP {list(operation.item.addresses)}")
            except NotFound:
                continue  # deleted meanwhile: its address is free with it
            except Conflict:
                self._woken.set()  # the newer version is on its way
            except (ApiError, OSError) as error:
                log.warning("status not written", service=operation.item.service, error=str(error), retry=RETRY)
                done = False
        await self._tell(desired)
        return done

    async def _tell(self, desired: Sequence[LoadBalancer]) -> None:
        """Say once for each Service and reason why it stays pending."""
        pending = {one.service: one for one in desired if one.reason and one.families}
        self._told = {key: reason for key, reason in self._told.items() if key in pending}
        for key, one in pending.items():
            if self._told.get(key) != one.reason:
                await self._event(one, "Warning", "AllocationFailed", f"Failed to allocate IP: {one.reason}")
                self._told[key] = one.reason

    async def _event(self, one: LoadBalancer, kind: str, reason: str, text: str) -> None:
        now = datetime.datetime.now(datetime.UTC)
        stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace, name = one.service
        about = {"apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": name, "uid": one.owner}
        metadata = {"name": f"{name}.{int(now.timestamp() * 1e6):x}", "namespace": namespace}
        event: Object = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about, "type": kind}
        event |= {"reason": reason, "message": text, "source": {"component": SOURCE}, "reportingComponent": SOURCE}
        event |= {"firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1}
        try:
            await self._client.create(EVENTS, event)
        except (ApiError, OSError) as error:
            log.warning("event not written", service=one.service, reason=reason, error=str(error))
