"""ConfigMaps, Secrets and tokens for pods: fetched when a pod needs them, kept for a moment, tokens renewed before they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from moorings_core.agent.containers import containers_of
from moorings_core.agent.tokens import SECONDS, PodTokens
from moorings_core.client.resources import CONFIG_MAPS, SECRETS
from moorings_core.ports.client import Client
from moorings_core.ports.errors import NotFound
from moorings_core.ports.objects import Object

from . import certificates, trust
from .certificates import Credentials, PodCertificates
from .payload import config_map_data, secret_data

RESOURCES = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS}


class Sources:
    """What pods of this node read."""

    def __init__(self, client: Client) -> None:
        self._client, self._certificates = client, PodCertificates(client)
        self._tokens = PodTokens(client)
        self._known: dict[tuple[str, str, str], tuple[float, Object | None]] = {}

    async def fetch(self, pod: Object, age: float = 0) -> Snapshot:
        """Return everything a pod refers to, as it was at most `age` seconds ago: what pods share is then fetched once for all."""
        namespace = pod["metadata"]["namespace"]
        names = _references(pod)
        oldest = time.monotonic() - age
        self._known = {key: known for key, known in self._known.items() if known[0] >= oldest} if age else self._known
        found = await asyncio.gather(*(self._get(kind, name, namespace, oldest) for kind, name in names))
        tokens = {key: (await self._tokens.get(pod, *key)).text for key in map(_token_key, _token_sources(pod))}
        issued = {place: await self._certificates.get(pod, place, s) for place, s in certificates.sources(pod).items()}
        return Snapshot(dict(zip(names, found, strict=True)), tokens, issued)

    async def _get(self, kind: str, name: str, namespace: str, oldest: float) -> Object | None:
        asked, known = time.monotonic(), self._known.get((kind, namespace, name))
        if known is not None and known[0] >= oldest:
            return known[1]
        try:
            found = await (trust.fetch(self._client, name) if kind == trust.KIND else self._client.get(RESOURCES[kind], name, namespace))
        except NotFound:
            found = None
        self._known[kind, namespace, name] = (asked, found)
        return found

    def forget(self, pod_uid: str) -> None:
        """Drop the tokens and keys of a pod that is gone."""
        self._certificates.forget(pod_uid)
        self._tokens.forget(pod_uid)


class Snapshot:
    """The objects a pod refers to."""

    def __init__(
        self, objects: Mapping[tuple[str, str], Object | None], tokens: Mapping[tuple[str, int], str], issued: Mapping[str, Credentials]
    ) -> None:
        self._objects, self._tokens, self._issued = objects, tokens, issued

    def raw(self, kind: str, name: str) -> dict[str, bytes] | None:
        """Return the data of a ConfigMap or Secret, the anchors of a trust bundle under "", or None."""
        found = self._objects.get((kind, name))
        if found is None:
            return None
        if kind == trust.KIND:
            return {"": found["anchors"].encode()}
        return config_map_data(found) if kind == "ConfigMap" else secret_data(found)

    def text(self, kind: str, name: str) -> dict[str, str] | None:
        """Return the data as text, for environment variables."""
        found = self.raw(kind, name)
        return None if found is None else {k: v.decode(errors="replace") for k, v in found.items()}

    def token(self, source: Object) -> str:
        """Return the token of a projected source."""
        return self._tokens[_token_key(source)]

    def certificate(self, place: str) -> Credentials:
        """Return the key and certificates of a projected source."""
        return self._issued[place]


def _token_key(source: Object) -> tuple[str, int]:
    return str(source.get("audience", "")), int(source.get("expirationSeconds", SECONDS))


def _token_sources(pod: Object) -> list[Object]:
    volumes = pod["spec"].get("volumes") or ()
    sources = [s for v in volumes for s in (v.get("projected") or {}).get("sources") or ()]
    return [s["serviceAccountToken"] for s in sources if s.get("serviceAccountToken")]


def _references(pod: Object) -> list[tuple[str, str]]:
    spec = pod["spec"]
    found: dict[tuple[str, str], None] = {}
    for volume in spec.get("volumes") or ():
        if "configMap" in volume:
            found["ConfigMap", volume["configMap"]["name"]] = None
        if "secret" in volume:
            found["Secret", volume["secret"]["secretName"]] = None
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("configMap"):
                found["ConfigMap", source["configMap"]["name"]] = None
            if source.get("secret"):
                found["Secret", source["secret"]["name"]] = None
            if source.get("clusterTrustBundle"):
                found[trust.KIND, trust.key(source["clusterTrustBundle"])] = None
    for container in containers_of(pod):
        for reference in container.get("envFrom") or ():
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if reference.get(field):
                    found[kind, reference[field]["name"]] = None
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if source.get(field):
                    found[kind, source[field]["name"]] = None
    return list(found)
