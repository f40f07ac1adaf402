"""Everything that is not a resource: health, version, discovery, OpenAPI, metrics, the token issuer's keys."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

import orjson

from moorings_core.pki.tokens import TokenSigner
from moorings_core.ports.errors import NotFound
from moorings_core.registry.discovery import Discovery, Document
from moorings_core.registry.kinds import Registry
from moorings_core.registry.openapi import OpenApi
from moorings_core.registry.openapi_v2 import PROTOBUF, OpenApiV2

from .http.message import Request, Response
from .metrics import Metrics

VERSION = {
    "major": "1",
    "minor": "37",
    "emulationMajor": "1",
    "emulationMinor": "37",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "36",
    "gitVersion": "v1.37.2+moorings",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-11-24T00:00:00Z",
    "goVersion": f"python{platform.python_version()}",
    "compiler": platform.python_implementation(),
    "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
}
PATHS = ("/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version")
AGGREGATED = "apidiscovery.k8s.io"
IMMUTABLE = "public, immutable"
Check = Callable[[], str]
"""Returns "" when all is well, else what is wrong"""


class Statics:
    """Answers paths outside the resources."""

    def __init__(self, registry: Registry, signer: TokenSigner, metrics: Metrics, checks: Mapping[str, Check]) -> None:
        self._discovery, self._openapi, self._openapi_v2 = Discovery(registry), OpenApi(registry), OpenApiV2(registry)
        self._signer, self._metrics, self._checks = signer, metrics, checks

    def forget(self) -> None:
        """Make discovery and schemas anew when next asked: what is served has changed."""
        self._discovery.forget()
        self._openapi.forget()
        self._openapi_v2.forget()

    async def answer(self, request: Request) -> Response:
        """Answer a GET of a known path. Raises NotFound."""
        path = request.path.rstrip("/") or "/"
        match path.strip("/").split("/"):
            case [""]:
                return _json({"paths": PATHS})
            case ["version"]:
                return _json(VERSION)
            case ["healthz" | "livez" | "readyz" as name, *one]:
                return self._health(name, one, "verbose" in request.query)
            case ["metrics"]:
                return Response(200, self._metrics.text(), {"Content-Type": "text/plain; version=0.0.4"})
            case ["openid", "v1", "jwks"]:
                return Response(200, self._signer.jwks(), {"Content-Type": "application/jwk-set+json"})
            case [".well-known", "openid-configuration"]:
                return _json(self._issuer())
        found = self._document(request, path)
        if found is None:
            return no_page()
        return _conditional(request, found)

    def _document(self, request: Request, path: str) -> Document | None:
        aggregated = AGGREGATED in request.headers.get("accept", "")
        match path.strip("/").split("/"):
            case ["api"]:
                return self._discovery.api(aggregated=aggregated)
            case ["apis"]:
                return self._discovery.apis(aggregated=aggregated)
            case ["apis", group]:
                return self._discovery.group(group)
            case ["api", version]:
                return self._discovery.resources("", version)
            case ["apis", group, version]:
                return self._discovery.resources(group, version)
            case ["openapi", "v2"]:
                return self._openapi_v2.document(protobuf=PROTOBUF in request.headers.get("accept", ""))
            case ["openapi", "v3"]:
                return self._openapi.index()
            case ["openapi", "v3", "api", version]:
                return self._openapi.document("", version)
            case ["openapi", "v3", "apis", group, version]:
                return self._openapi.document(group, version)
        return None

    def _health(self, name: str, one: list[str], verbose: bool) -> Response:
        checks = {n: c for n, c in self._checks.items() if not one or n == one[0]}
        if one and not checks:
            raise NotFound(f"no health check {one[0]!r}; known: {', '.join(self._checks)}")
        problems = {n: problem for n, check in checks.items() if (problem := check())}
        lines = [f"[-]{n} failed: {problems[n]}" if n in problems else f"[+]{n} ok" for n in checks]
        if problems:
            text = "\n".join([*lines, f"{name} check failed"])
            return Response(500, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        text = "\n".join([*lines, f"{name} check passed", ""]) if verbose else "ok"
        return Response(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})

    def _issuer(self) -> dict[str, object]:
        issuer = self._signer.issuer
        return {
            "issuer": issuer,
            "jwks_uri": f"{issuer}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }


def no_page() -> Response:
    """Return the answer for a path that no part of the API serves."""
    return Response(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})


def _conditional(request: Request, document: Document) -> Response:
    headers = {"Content-Type": document.content_type, "ETag": document.etag, "Vary": "Accept"}
    if "hash" in request.query:
        headers["Cache-Control"] = IMMUTABLE
    if request.headers.get("if-none-match") == document.etag:
        return Response(304, b"", headers)
    return Response(200, document.body, headers)


def _json(obj: object) -> Response:
    return Response(200, orjson.dumps(obj), {"Content-Type": "application/json"})
