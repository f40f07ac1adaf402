"""Discovery documents: which groups, versions, resources and verbs are served, in the aggregated and in the legacy form.

Source: apidiscovery.k8s.io/v2; metav1 APIVersions, APIGroupList, APIResourceList. Documents are made once per
registry state.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import NamedTuple

import orjson

from moorings_core.ports.objects import Object

from .forms import form_of
from .kinds import Kind, Registry, Subresource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Document(NamedTuple):
    """A body with its media type and entity tag."""

    body: bytes
    content_type: str
    etag: str


class Discovery:
    """The documents of one registry; `forget` after it changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[tuple[str, ...], Document] = {}

    def forget(self) -> None:
        """Make every document anew when next asked."""
        self._made.clear()

    def api(self, *, aggregated: bool) -> Document:
        """/api"""
        if aggregated:
            return self._document(("api", "v2"), lambda: _group_list([self._group("", ("v1",))]), AGGREGATED)
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]
        versions: Object = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        return self._document(("api",), lambda: versions)

    def apis(self, *, aggregated: bool) -> Document:
        """/apis"""
        groups = self._registry.all_groups()
        if aggregated:
            return self._document(("apis", "v2"), lambda: _group_list([self._group(n, v) for n, v in groups]), AGGREGATED)
        listed = [_api_group(name, versions) for name, versions in groups]
        return self._document(("apis",), lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})

    def group(self, name: str) -> Document | None:
        """/apis/GROUP, or None where there is no such group."""
        versions = dict(self._registry.all_groups()).get(name)
        if versions is None:
            return None
        return self._document(("group", name), lambda: {"kind": "APIGroup", "apiVersion": "v1", **_api_group(name, versions)})

    def resources(self, group: str, version: str) -> Document | None:
        """/api/v1 and /apis/GROUP/VERSION, or None where nothing is served there."""
        kinds = self._registry.of(group, version)
        if not kinds:
            return None
        name = f"{group}/{version}" if group else version
        entries = [entry for kind in kinds for entry in _legacy(kind)]
        body: Object = {"kind": "APIResourceList", "groupVersion": name, "resources": entries}
        return self._document(("resources", name), lambda: body | ({"apiVersion": "v1"} if group else {}))

    def _group(self, name: str, versions: tuple[str, ...]) -> Object:
        listed = []
        for version in versions:
            remote = self._registry.remote.get((name, version))
            kinds = [_aggregated(kind) for kind in self._registry.of(name, version)] if remote is None else list(remote)
            listed.append({"version": version, "resources": kinds, "freshness": "Current"})
        metadata: Object = {"creationTimestamp": None} | ({"name": name} if name else {})
        return {"metadata": metadata, "versions": listed}

    def _document(self, key: tuple[str, ...], make: Callable[[], Object], content_type: str = "application/json") -> Document:
        if key not in self._made:
            body = orjson.dumps(make())
            self._made[key] = Document(body, content_type, f'"{hashlib.sha256(body).hexdigest().upper()}"')
        return self._made[key]


def _group_list(items: list[Object]) -> Object:
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _api_group(name: str, versions: tuple[str, ...]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _aggregated(kind: Kind) -> Object:
    resource = kind.resource
    entry: Object = {
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = [_aggregated_subresource(kind, s) for _, s in sorted(kind.subresources.items())]
    return entry


def _aggregated_subresource(kind: Kind, subresource: Subresource) -> Object:
    same = (subresource.group, subresource.version) == (kind.resource.group, kind.resource.version)
    group, version = ("", "") if same else (subresource.group, subresource.version)
    body = {"group": group, "version": version, "kind": subresource.kind}
    return {"subresource": subresource.name, "responseKind": body, "verbs": list(subresource.verbs)}


def _legacy(kind: Kind) -> list[Object]:
    resource = kind.resource
    form = form_of(resource)
    kept = resource if form is None else form.kept
    stored = kept.version if kind.custom is None else kind.custom.storage
    seed = "/".join((kept.group, stored, kept.kind)).encode()
    entry: Object = {
        "name": resource.plural,
        "singularName": kind.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if "watch" in kind.verbs:
        entry["storageVersionHash"] = base64.b64encode(hashlib.sha256(seed).digest()[:8]).decode()
    subresources = list(kind.subresources.values()) if kind.custom is not None else [s for _, s in sorted(kind.subresources.items())]
    return [entry, *(_legacy_subresource(kind, s) for s in subresources)]


def _legacy_subresource(kind: Kind, subresource: Subresource) -> Object:
    resource = kind.resource
    entry: Object = {
        "name": f"{resource.plural}/{subresource.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": subresource.kind,
        "verbs": list(subresource.verbs),
    }
    if (subresource.group, subresource.version) != (resource.group, resource.version):
        entry |= {"group": subresource.group, "version": subresource.version}
    return entry
