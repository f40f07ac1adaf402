"""Says that this API server lives, by a Lease in kube-system that it renews, and keeps the Service `kubernetes` at all that live.

Source: KEP-1965, the labels and names of kube-apiserver.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from moorings_core.client.resources import ENDPOINT_SLICES, ENDPOINTS, LEASES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError, NotFound
from moorings_core.ports.objects import Object

log = get_logger(__name__)
NAMESPACE = "kube-system"
SELECTOR = "apiserver.kubernetes.io/identity=kube-apiserver"
LABELS = {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": ""}
DURATION, RENEW = 3600, 10.0
ADDRESS = "moorings.dev/address"
DEAD_AFTER = 40.0
"""Seconds without a sign of life after which nobody is sent to a server any more"""
SERVICE, SERVICE_NAMESPACE = "kubernetes", "default"


def identity_of(data: Path) -> str:
    """Return the name of the server whose data is in `data`: the same after every restart."""
    return f"apiserver-{hashlib.sha256(f'{socket.gethostname()} {data.resolve()}'.encode()).hexdigest()[:26]}"


async def keep_identity(client: Client, name: str, address: str) -> None:
    """Renew the lease of the server at `address` until cancelled, and take it back then."""
    try:
        while True:
            try:
                await _renew(client, name, address)
                await _lead_to(client, living((await client.list(LEASES, NAMESPACE, labels=SELECTOR)).items, time.time()))
            except ApiError as error:
                log.warning("identity not renewed", lease=name, error=str(error))
            await asyncio.sleep(RENEW)
    finally:
        try:
            async with asyncio.timeout(1):
                await client.delete(LEASES, name, NAMESPACE)
        except (ApiError, TimeoutError) as error:
            log.info("identity not taken back", lease=name, error=str(error))


def living(leases: Sequence[Object], now: float) -> list[str]:
    """Return the addresses of the servers that have shown life lately, in order. Pure."""
    found = set()
    for lease in leases:
        address = (lease["metadata"].get("annotations") or {}).get(ADDRESS)
        renewed = datetime.fromisoformat(lease.get("spec", {}).get("renewTime", "1970-01-01T00:00:00Z"))
        if address and now - renewed.timestamp() < DEAD_AFTER:
            found.add(address)
    return sorted(found)


async def _lead_to(client: Client, addresses: Sequence[str]) -> None:
    """Let the Service lead to these servers, as far as they are of its address family."""
    piece = await client.get(ENDPOINT_SLICES, SERVICE, SERVICE_NAMESPACE)
    wanted = [address for address in addresses if (":" in address) == (piece["addressType"] == "IPv6")]
    if not wanted or [e["addresses"][0] for e in piece.get("endpoints") or ()] == wanted:
        return
    log.info("servers", addresses=wanted)
    endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in wanted]
    await client.patch(ENDPOINT_SLICES, SERVICE, SERVICE_NAMESPACE, {"endpoints": endpoints})
    old = await client.get(ENDPOINTS, SERVICE, SERVICE_NAMESPACE)
    subset = {**old["subsets"][0], "addresses": [{"ip": address} for address in wanted]}
    await client.patch(ENDPOINTS, SERVICE, SERVICE_NAMESPACE, {"subsets": [subset]})


async def _renew(client: Client, name: str, address: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    marks = {ADDRESS: address}
    try:
        await client.patch(LEASES, name, NAMESPACE, {"metadata": {"annotations": marks}, "spec": {"renewTime": now}})
    except NotFound:
        labels = {**LABELS, "kubernetes.io/hostname": socket.gethostname()}
        metadata: Object = {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": marks}
        spec = {"holderIdentity": name, "leaseDurationSeconds": DURATION, "renewTime": now}
        await client.create(LEASES, {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec})
