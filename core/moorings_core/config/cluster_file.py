"""The schema of the cluster file (apiVersion moorings/v1, kind Cluster): names in the file, their parsers and their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from moorings_core.ports.cluster import (
    FAST,
    OPEN,
    AuditConfig,
    CloudConfig,
    ClusterConfig,
    DnsConfig,
    EncryptionConfig,
    LabConfig,
    LabNode,
    NetworkConfig,
    OidcConfig,
    PodSecurityConfig,
    RuntimeConfig,
    ServerConfig,
    ServicesConfig,
    StorageConfig,
    StoreConfig,
    Timing,
)
from moorings_core.registry.quantity import to_int

from .backends import UnknownBackend, installed
from .reader import (
    ConfigError,
    Cursor,
    Parser,
    address,
    any_text,
    boolean,
    choice,
    free_form,
    https_url,
    integer,
    labels,
    many,
    name,
    network,
    number,
    parse_document,
    record,
    text,
)

SIGNING_ALGORITHMS = tuple(f"{family}{bits}" for family in ("RS", "ES", "PS") for bits in (256, 384, 512))
DEFAULT_NODES = (LabNode("server", ("server",)), *(LabNode(f"node-{i}") for i in range(1, 4)))
ROOT_FIELDS = ("apiVersion", "kind", "metadata", "server", "network", "services", "storage", "cloud", "runtime", "lab")


class LabGroup(NamedTuple):
    """An entry of lab.nodes as written: one named node, or `count` alike."""

    node: LabNode
    copies: int


def load_file(path: Path | None) -> ClusterConfig:
    """Read a cluster file; without one it is the default cluster. Raises ConfigError, UnknownBackend and OSError."""
    return load_text(path.read_text(), str(path)) if path else load_text("")


def load_text(document: str, source: str = "cluster.yaml") -> ClusterConfig:
    """Read a cluster file's text; an empty one is the default cluster. Raises ConfigError and UnknownBackend."""
    cursor = parse_document(document, source)
    config = ClusterConfig() if cursor is None else _cluster(cursor)
    config = replace(config, lab=replace(config.lab, nodes=config.lab.nodes or DEFAULT_NODES))
    check_backends(config)
    return config


def with_backend(document: str, section: str, backend: str) -> str:
    """Return the cluster file's text with `backend` chosen in a section ("network", "services", "cloud"); comments are lost."""
    tree = yaml.safe_load(document) or {}
    tree.setdefault(section, {})["backend"] = backend
    return yaml.safe_dump(tree, sort_keys=False)


def with_store(document: str, backend: str, parameters: Mapping[str, Any]) -> str:
    """Return the cluster file's text with another store chosen; comments are lost."""
    tree = yaml.safe_load(document) or {}
    tree.setdefault("server", {})["store"] = {"backend": backend, **({"parameters": dict(parameters)} if parameters else {})}
    return yaml.safe_dump(tree, sort_keys=False)


def with_lab(document: str) -> str:
    """Return the cluster file's text with a lab section, so that whoever reads it later sees a lab's timers."""
    tree = yaml.safe_load(document) or {}
    if "lab" in tree:
        return document
    return yaml.safe_dump({**tree, "lab": {"profile": LabConfig().profile}}, sort_keys=False)


def check_backends(config: ClusterConfig) -> None:
    """Raise UnknownBackend where the configuration names a backend that no installed package provides."""
    wanted = [
        ("store", config.server.store.backend),
        ("network", config.network.backend),
        ("proxy", config.services.backend),
        ("dns", config.services.dns.backend),
        ("cloud", config.cloud.backend),
        ("runtime", config.runtime.backend),
        *(("storage", storage.backend) for storage in config.storage),
    ]
    for port, backend in wanted:
        found = installed(port)
        if backend not in found:
            raise UnknownBackend(port, backend, sorted(found))


def _cluster(cursor: Cursor) -> ClusterConfig:
    fields = cursor.fields()
    values: dict[str, Any] = {}
    for field, child in fields.items():
        if field not in _ROOT:
            raise child.fail(f"no such field; expected one of {', '.join(_ROOT)}")
        attribute, parser = _ROOT[field]
        values[attribute] = parser(child)
    values.pop("api_version", None)
    values.pop("kind", None)
    config = ClusterConfig(**values)
    _check_names([s.name for s in config.storage], fields.get("storage"))
    _check_names([n.name for n in config.lab.nodes], fields.get("lab"))
    if "lab" in fields and "podSecurity" not in (fields["server"].fields() if "server" in fields else {}):
        config = replace(config, server=replace(config.server, pod_security=OPEN))
    return replace(config, timing=FAST if "lab" in fields and config.lab.profile == "fast" else Timing())


def _check_names(names: Sequence[str], cursor: Cursor | None) -> None:
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice and cursor is not None:
        raise cursor.fail(f"the name {twice[0]!r} is given twice")


def _mtu(cursor: Cursor) -> int:
    return 0 if cursor.value() == "auto" else integer(576, 65535)(cursor)


def _memory(cursor: Cursor) -> int:
    try:
        return to_int(str(cursor.value()))
    except ValueError as error:
        raise cursor.fail("expected an amount of memory such as 512Mi or 1Gi") from error


def _port_range(cursor: Cursor) -> tuple[int, int]:
    low, dash, high = str(cursor.value()).partition("-")
    if not (dash and low.isdigit() and high.isdigit() and 0 < int(low) <= int(high) < 65536):
        raise cursor.fail(f"expected a range of ports such as 30000-32767, got {cursor.describe()}")
    return int(low), int(high)


def _metadata(cursor: Cursor) -> str:
    fields = cursor.fields()
    for field, child in fields.items():
        if field != "name":
            raise child.fail("no such field; expected name")
    return name(fields["name"]) if "name" in fields else ClusterConfig().name


def _lab_group(cursor: Cursor) -> LabGroup:
    values: dict[str, Any] = record(dict, _LAB_NODE)(cursor)
    count = values.pop("count", 1)
    if count > 1 and "name" in values:
        raise cursor.fail("a name and a count do not go together: use `prefix` in place of `name`")
    prefix = values.pop("prefix", "node")
    return LabGroup(LabNode(**({"name": f"{prefix}-", **values})), count)


def _lab_nodes(cursor: Cursor) -> tuple[LabNode, ...]:
    nodes: list[LabNode] = []
    numbers: dict[str, int] = {}
    for group in many(_lab_group)(cursor):
        if not group.node.name.endswith("-"):
            nodes.append(group.node)
            continue
        for _ in range(group.copies):
            numbers[group.node.name] = numbers.get(group.node.name, 0) + 1
            nodes.append(replace(group.node, name=f"{group.node.name}{numbers[group.node.name]}"))
    if sum("server" in node.roles for node in nodes) != 1:
        raise cursor.fail("expected exactly one node with the role server")
    return tuple(nodes)


_LAB_NODE: dict[str, tuple[str, Parser[Any]]] = {
    "name": ("name", name),
    "prefix": ("prefix", name),
    "count": ("count", integer(1, 1000)),
    "roles": ("roles", many(choice("server", "node"))),
    "cpu": ("cpu", number(0.05)),
    "memory": ("memory", _memory),
    "labels": ("labels", labels),
}
_STORE = record(StoreConfig, {"backend": ("backend", text), "parameters": ("parameters", free_form)})
_DNS = record(DnsConfig, {"backend": ("backend", text), "domain": ("domain", text), "upstreams": ("upstreams", many(address))})
_OIDC_FIELDS: Parser[dict[str, Any]] = record(
    dict,
    {
        "issuer": ("issuer", https_url),
        "clientID": ("client_id", text),
        "usernameClaim": ("username_claim", text),
        "usernamePrefix": ("username_prefix", any_text),
        "groupsClaim": ("groups_claim", text),
        "groupsPrefix": ("groups_prefix", any_text),
        "requiredClaims": ("required_claims", labels),
        "signingAlgorithms": ("signing_algorithms", many(choice(*SIGNING_ALGORITHMS))),
        "caFile": ("ca_file", text),
    },
)


def _oidc(cursor: Cursor) -> OidcConfig:
    values: dict[str, Any] = _OIDC_FIELDS(cursor)
    for attribute, name_ in (("issuer", "issuer"), ("client_id", "clientID")):
        if attribute not in values:
            raise cursor.fail(f"expected a field {name_}")
    return OidcConfig(**values)


_AUDIT = record(
    AuditConfig,
    {
        "enabled": ("enabled", boolean),
        "policy": ("policy", text),
        "directory": ("directory", text),
        "maxSize": ("max_size", _memory),
        "keep": ("keep", integer(0, 10_000)),
    },
)
_LEVEL = choice("privileged", "baseline", "restricted")
_POD_SECURITY = record(
    PodSecurityConfig,
    {
        "enforce": ("enforce", _LEVEL),
        "audit": ("audit", _LEVEL),
        "warn": ("warn", _LEVEL),
        "exemptNamespaces": ("exempt_namespaces", many(name)),
    },
)
_SERVER = record(
    ServerConfig,
    {
        "run": ("run", many(choice("api", "controllers", "scheduler"))),
        "port": ("port", integer(1, 65535)),
        "store": ("store", _STORE),
        "oidc": ("oidc", many(_oidc)),
        "audit": ("audit", _AUDIT),
        "encryption": ("encryption", record(EncryptionConfig, {"resources": ("resources", many(text))})),
        "podSecurity": ("pod_security", _POD_SECURITY),
    },
)
_NETWORK = record(
    NetworkConfig,
    {
        "backend": ("backend", text),
        "podCIDRs": ("pod_cidrs", many(network)),
        "nodePrefix": ("node_prefix", integer(8, 126)),
        "allocateNodeCIDRs": ("allocate_node_cidrs", boolean),
        "mtu": ("mtu", _mtu),
        "swapTo": ("swap_to", many(text)),
        "parameters": ("parameters", free_form),
    },
)
_SERVICES = record(
    ServicesConfig,
    {
        "backend": ("backend", text),
        "CIDRs": ("cidrs", many(network)),
        "nodePorts": ("node_ports", _port_range),
        "dns": ("dns", _DNS),
        "parameters": ("parameters", free_form),
    },
)
_STORAGE = record(
    StorageConfig,
    {
        "name": ("name", name),
        "backend": ("backend", text),
        "default": ("default", boolean),
        "parameters": ("parameters", free_form),
    },
)
_CLOUD = record(CloudConfig, {"backend": ("backend", text), "parameters": ("parameters", free_form)})
_RUNTIME = record(RuntimeConfig, {"backend": ("backend", text), "parameters": ("parameters", free_form)})
_LAB = record(LabConfig, {"profile": ("profile", choice("fast", "default")), "nodes": ("nodes", _lab_nodes)})
_ROOT: dict[str, tuple[str, Parser[Any]]] = {
    "apiVersion": ("api_version", choice("moorings/v1")),
    "kind": ("kind", choice("Cluster")),
    "metadata": ("name", _metadata),
    "server": ("server", _SERVER),
    "network": ("network", _NETWORK),
    "services": ("services", _SERVICES),
    "storage": ("storage", many(_STORAGE)),
    "cloud": ("cloud", _CLOUD),
    "runtime": ("runtime", _RUNTIME),
    "lab": ("lab", _LAB),
}

__all__ = ["ConfigError", "check_backends", "load_file", "load_text", "with_backend", "with_lab", "with_store"]
