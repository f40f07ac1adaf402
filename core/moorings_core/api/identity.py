"""Says that this API server lives: a Lease in kube-system that it renews. Source: KEP-1965, the labels and names of kube-apiserver."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from datetime import UTC, datetime
from pathlib import Path

from moorings_core.client.resources import LEASES
from moorings_core.log import get_logger
from moorings_core.ports.client import Client
from moorings_core.ports.errors import ApiError, NotFound
from moorings_core.ports.objects import Object

log = get_logger(__name__)
NAMESPACE = "kube-system"
LABELS = {"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": ""}
DURATION, RENEW = 3600, 10.0


def identity_of(data: Path) -> str:
    """Return the name of the server whose data is in `data`: the same after every restart."""
    return f"apiserver-{hashlib.sha256(f'{socket.gethostname()} {data.resolve()}'.encode()).hexdigest()[:26]}"


async def keep_identity(client: Client, name: str) -> None:
    """Renew the lease of this server until cancelled, and take it back then."""
    try:
        while True:
            try:
                await _renew(client, name)
            except ApiError as error:
                log.warning("identity not renewed", lease=name, error=str(error))
            await asyncio.sleep(RENEW)
    finally:
        try:
            async with asyncio.timeout(1):
                await client.delete(LEASES, name, NAMESPACE)
        except (ApiError, TimeoutError) as error:
            log.info("identity not taken back", lease=name, error=str(error))


async def _renew(client: Client, name: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        await client.patch(LEASES, name, NAMESPACE, {"spec": {"renewTime": now}})
    except NotFound:
        labels = {**LABELS, "kubernetes.io/hostname": socket.gethostname()}
        metadata: Object = {"name": name, "namespace": NAMESPACE, "labels": labels}
        spec = {"holderIdentity": name, "leaseDurationSeconds": DURATION, "renewTime": now}
        await client.create(LEASES, {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec})
