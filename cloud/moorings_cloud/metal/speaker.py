"""The node half: takes part in the election for every address, and answers and announces those that this node holds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

from moorings_core.client.informer import Informer
from moorings_core.client.resources import ENDPOINT_SLICES, LEASES, NODES, SERVICES
from moorings_core.log import get_logger
from moorings_core.ports.errors import AlreadyExists, ApiError, Conflict, NotFound
from moorings_core.ports.node import NodeContext
from moorings_core.ports.objects import Key, Object

from .allocate import ingress, is_ours
from .arp import OpenSocket, open_responder
from .election import RENEW, Election, lease_spec
from .frames import build_frames

log = get_logger(__name__)
NAMESPACE = "kube-system"
SERVICE_NAME = "kubernetes.io/service-name"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
ANNOUNCE_AFTER = (0.0, 0.2, 1.0, 2.0, 4.0)
"""Seconds after taking an address at which it is announced: single frames get lost, and some routers limit them."""
ANNOUNCE_EVERY = 30.0
WRITE_TIMEOUT = 1.5
SETTLE = 0.01


class Speaker:
    """Speaks for addresses on one node's link."""

    def __init__(self, context: NodeContext, *, open_socket: OpenSocket = socket.socket) -> None:
        self._context, self._open_socket = context, open_socket
        self._services = Informer(context.client, SERVICES)
        self._slices = Informer(context.client, ENDPOINT_SLICES)
        self._nodes = Informer(context.client, NODES, fields=f"metadata.name={context.name}")
        self._leases = Informer(context.client, LEASES, NAMESPACE)
        self._slices.add_index("service", _service_of)
        self._elections: dict[Key, Election] = {}
        self._writes: dict[Key, asyncio.Task[None]] = {}
        self._announce_at: dict[str, list[float]] = {}
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when the link goes away."""
        informers = (self._services, self._slices, self._nodes, self._leases)
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run())
            for informer in informers:
                await informer.synced(timeout=3600)
                informer.on_change(lambda old, new: self._woken.set())
            await self._first_address()
            responder = open_responder(await build_frames(), self._context.addresses[0], self._open_socket)
            responder.start()
            log.info("speaking", link=responder.link)
            try:
                group.create_task(_fail_with(responder.failed))
                while True:
                    wait = self._turn(responder.answer_for, responder.announce, time.monotonic(), group)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._woken.wait()
                    self._woken.clear()
            finally:
                responder.close()
                await self._release_all()

    async def _first_address(self) -> None:
        """Wait until there is something to speak for: a cluster without such Services pays nothing."""
        while not any(is_ours(s) and ingress(s) for s in self._services.items.values()):
            self._woken.clear()
            await self._woken.wait()

    def _turn(
        self, answer_for: Callable[[list[str]], None], announce: Callable[[str], None], now: float, group: asyncio.TaskGroup
    ) -> float:
        """Do what is due, return in how many seconds to look again."""
        wait, held = RENEW, []
        wanted = {key: s for key, s in self._services.items.items() if is_ours(s) and ingress(s)}
        for key, service in wanted.items():
            name = lease_name(service)
            election = self._elections.get(key)
            if election is None or election.name != name:
                election = self._elections[key] = Election(self._context.name, name)
            election.observe(self._leases.get(name, NAMESPACE), now)
            eligible = self._eligible(service)
            action = election.action(eligible, now)
            if action and key not in self._writes:
                self._writes[key] = group.create_task(self._write(key, election, action, service))
            if election.holds(now) and eligible:
                held += [a for a in ingress(service) if ":" not in a]
            wait = min(wait, election.wait(eligible, now, writing=key in self._writes))
        for key in self._elections.keys() - wanted.keys():
            self._elections.pop(key)
        answer_for(held)
        return min(wait, self._announce(held, announce, now))

    def _announce(self, held: list[str], announce: Callable[[str], None], now: float) -> float:
        for gone in self._announce_at.keys() - set(held):
            log.info("no longer answering", address=gone)
            del self._announce_at[gone]
        wait = ANNOUNCE_EVERY
        for address in held:
            if address not in self._announce_at:
                log.info("answering", address=address)
                self._announce_at[address] = [now + after for after in ANNOUNCE_AFTER]
            due = self._announce_at[address]
            if due[0] <= now:
                announce(address)
                due.pop(0)
                due += [] if due else [now + ANNOUNCE_EVERY]
            wait = min(wait, max(due[0] - now, SETTLE))
        return wait

    def _eligible(self, service: Object) -> bool:
        """Whether this node may take a Service's address: it is Ready, wanted, and has an endpoint if the policy is Local."""
        node = self._nodes.get(self._context.name)
        if node is None or EXCLUDED in (node["metadata"].get("labels") or {}) or not _ready(node):
            return False
        if service["spec"].get("externalTrafficPolicy") != "Local":
            return True
        metadata = service["metadata"]
        pieces = self._slices.by_index("service", f"{metadata['namespace']}/{metadata['name']}")
        endpoints = (e for piece in pieces for e in piece.get("endpoints") or ())
        return any(e.get("nodeName") == self._context.name and (e.get("conditions") or {}).get("ready") is not False for e in endpoints)

    async def _write(self, key: Key, election: Election, action: str, service: Object) -> None:
        """Do an action on the Lease; what fails is tried again when it is due again."""
        asked = time.monotonic()
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                election.took(await self._put(election, action, service), asked)
        except (Conflict, AlreadyExists, NotFound) as error:
            log.debug("lease taken by another", service=key, error=str(error))
            await asyncio.sleep(SETTLE)  # let the watch bring the newer one
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("lease not written", service=key, action=action, error=str(error) or type(error).__name__)
            await asyncio.sleep(RENEW / 4)
        finally:
            del self._writes[key]
            self._woken.set()

    async def _put(self, election: Election, action: str, service: Object) -> Object:
        client, lease = self._context.client, election.lease
        if lease is None:
            return await client.create(LEASES, new_lease(election, self._context.name, service))
        spec = lease_spec(self._context.name, lease)
        if action == "release":
            spec = {**lease["spec"], "holderIdentity": ""}
        # With the version that was seen: of two that find it free one gets a Conflict.
        return await client.update(LEASES, {**lease, "spec": spec})

    async def _release_all(self) -> None:
        """Let go of what is held, so that another node need not wait; if this does not succeed, the Leases run out."""
        for election in self._elections.values():
            if (lease := election.lease) is not None and election.holder == self._context.name:
                with contextlib.suppress(ApiError, OSError, TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self._context.client.update(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})


async def _fail_with(failed: asyncio.Future[None]) -> None:
    await failed


def lease_name(service: Object) -> str:
    """Return the name of the Lease for a Service's address."""
    return f"metal-{service['metadata']['uid']}"


def new_lease(election: Election, node: str, service: Object) -> Object:
    """Return the first Lease for a Service; the Service is named in it for who looks."""
    metadata = service["metadata"]
    annotations = {"moorings.dev/service": f"{metadata['namespace']}/{metadata['name']}"}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": election.name, "namespace": NAMESPACE, "annotations": annotations},
        "spec": lease_spec(node, None),
    }


def _ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _service_of(piece: Object) -> list[str]:
    metadata = piece["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return [f"{metadata['namespace']}/{name}"] if name else []
