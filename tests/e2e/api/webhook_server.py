"""A webhook of the test's own: HTTPS with a certificate of a CA of its own, answers that a test decides, and what it was asked."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from contextlib import asynccontextmanager

from aiohttp import web

from moorings_core.pki.authority import Authority

ALLOW = {"allowed": True}


def patch(*operations):
    """An answer that allows and changes."""
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


def deny(message, **status):
    """An answer that refuses."""
    return {"allowed": False, "status": {"message": message, **status}}


class WebhookServer:
    """Answers every path by `answers[path]`: a response, a function of the request, or bytes that are the whole body."""

    def __init__(self, authority):
        self.answers = {}
        self.asked = []
        self.port = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self._authority = authority

    @property
    def bundle(self):
        return base64.b64encode(self._authority.cert_pem).decode()

    def client(self, path, bundle=None):
        """The clientConfig of a path."""
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.bundle if bundle is None else bundle}

    def requests(self, path):
        """What a path was asked, as requests of AdmissionReviews."""
        return [review["request"] for where, review in self.asked if where == path]

    async def handle(self, request):
        review = await request.json()
        self.asked.append((request.path, review))
        await self.hold.wait()
        answer = self.answers.get(request.path, ALLOW)
        if callable(answer):
            answer = answer(review["request"])
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/json")
        if isinstance(answer, int):
            return web.Response(status=answer, text="no")
        response = {"uid": review["request"]["uid"], **answer}
        return web.json_response({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})


@asynccontextmanager
async def webhook_server(root):
    """A running server."""
    authority = Authority.create("webhooks")
    authority.issue("webhook", hosts=["127.0.0.1"]).write(root, "webhook")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(root / "webhook.crt", root / "webhook.key")
    server = WebhookServer(authority)
    application = web.Application()
    application.router.add_post("/{tail:.*}", server.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        server.hold.set()
        await runner.cleanup()


def configuration(kind, name, *webhooks):
    """A configuration of either kind."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


def webhook(name, client, resources=("configmaps",), operations=("CREATE", "UPDATE"), groups=("",), versions=("v1",), **fields):
    """One webhook."""
    rule = {"operations": list(operations), "apiGroups": list(groups), "apiVersions": list(versions), "resources": list(resources)}
    given = {"name": f"{name}.example.org", "clientConfig": client, "rules": [rule], "admissionReviewVersions": ["v1"]}
    return given | {"sideEffects": "None", "timeoutSeconds": 5, **fields}
