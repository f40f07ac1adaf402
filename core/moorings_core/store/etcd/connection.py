"""A channel to etcd: where it is, and with which certificates."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from aetcd import rpc

from moorings_core.ports.errors import MooringsError

KNOWN = {"endpoints", "prefix", "ca", "cert", "key", "transaction"}
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class EtcdParameters(MooringsError):
    """The parameters of the etcd store do not fit; the text says which and how they have to be."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects are: etcd's members as host:port, the keys' prefix, PEM files; transaction is etcd's --max-txn-ops."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    secure: bool = False
    prefix: str = "/moorings/"
    ca: str = ""
    cert: str = ""
    key: str = ""
    transaction: int = 128


def place_of(parameters: Mapping[str, Any]) -> Place:
    """Return the place that a cluster file's store parameters name. Raises EtcdParameters."""
    if unknown := sorted(parameters.keys() - KNOWN):
        raise EtcdParameters(f"server.store.parameters.{unknown[0]}: etcd has no such parameter; known: {', '.join(sorted(KNOWN))}")
    given = parameters.get("endpoints", ["http://127.0.0.1:2379"])
    urls = [urlsplit(str(text)) for text in (given if isinstance(given, list | tuple) else str(given).split(","))]
    for url in urls:
        if url.scheme not in ("http", "https") or not url.hostname:
            raise EtcdParameters(f"server.store.parameters.endpoints: {url.geturl()!r} is no URL like https://10.0.0.1:2379")
    if not urls or len({url.scheme for url in urls}) != 1:
        raise EtcdParameters("server.store.parameters.endpoints: all must be http, or all https")
    files = {name: str(parameters.get(name, "")) for name in ("ca", "cert", "key")}
    for name, path in files.items():
        if path and not Path(path).is_file():
            raise EtcdParameters(f"server.store.parameters.{name}: there is no file {path}")
    transaction = parameters.get("transaction", 128)
    if not isinstance(transaction, int) or not 1 <= transaction <= 1000:
        raise EtcdParameters("server.store.parameters.transaction: a number from 1 to 1000, at most etcd's --max-txn-ops")
    prefix = "/" + str(parameters.get("prefix", "moorings")).strip("/") + "/"
    members = tuple(f"[{u.hostname}]:{u.port or 2379}" if ":" in str(u.hostname) else f"{u.hostname}:{u.port or 2379}" for u in urls)
    return Place(members, urls[0].scheme == "https", prefix, transaction=transaction, **files)


class Connection:
    """Stubs on one channel."""

    def __init__(self, place: Place) -> None:
        self.channel = _channel(place)
        self.kv: Any = rpc.KVStub(self.channel)
        self.watch: Any = rpc.WatchStub(self.channel)

    async def close(self) -> None:
        """Close the channel; calls under way fail."""
        await self.channel.close()


def _channel(place: Place) -> grpc.aio.Channel:
    names = [member.rpartition(":")[0].strip("[]") for member in place.endpoints]
    several = len(place.endpoints) > 1
    target = _addresses(place.endpoints) if several else place.endpoints[0]
    if not place.secure:
        return grpc.aio.insecure_channel(target, options=OPTIONS)
    ca, key, cert = (Path(path).read_bytes() if path else None for path in (place.ca, place.key, place.cert))
    # Addresses carry no name that a certificate could be checked against.
    options = (*OPTIONS, ("grpc.ssl_target_name_override", names[0])) if several else OPTIONS
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(ca, key, cert), options=options)


def _addresses(endpoints: tuple[str, ...]) -> str:
    """Return all members as one target: gRPC takes a list of addresses, not of names. Raises EtcdParameters."""
    found: dict[int, list[str]] = {}
    for member in endpoints:
        name, _, port = member.rpartition(":")
        try:
            family, *_, address = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise EtcdParameters(f"server.store.parameters.endpoints: {member}: {error.strerror}") from error
        found.setdefault(family, []).append(f"[{address[0]}]:{port}" if family == socket.AF_INET6 else f"{address[0]}:{port}")
    if len(found) > 1:
        raise EtcdParameters("server.store.parameters.endpoints: all IPv4, or all IPv6")
    ((kind, addresses),) = found.items()
    return f"{'ipv6' if kind == socket.AF_INET6 else 'ipv4'}:{','.join(addresses)}"
