"""Requests without kubectl, by an HTTP client that nobody here wrote."""

from __future__ import annotations

import io
import json
import ssl
from contextlib import asynccontextmanager

import aiohttp

JSON = {"Content-Type": "application/json"}


class Client:
    """Requests with the administrator's certificate, or with nothing but what is given."""

    def __init__(self, api, *, anonymous=False):
        self._context = ssl.create_default_context(cafile=str(api.root / "ca.crt"))
        if not anonymous:
            self._context.load_cert_chain(api.root / "admin.crt", api.root / "admin.key")
        self._base = f"https://127.0.0.1:{api.port}"
        self._session = aiohttp.ClientSession()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self._session.close()

    async def __call__(self, method, path, body=None, headers=None):
        """Return (code, the answer as JSON or text)."""
        data = None if body is None else io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with self.open(method, path, data, headers) as answer:
            text = await answer.text()
            try:
                return answer.status, json.loads(text)
            except ValueError:
                return answer.status, text

    @asynccontextmanager
    async def open(self, method, path, data=None, headers=None):
        """Yield the answer as it comes."""
        async with self._session.request(method, self._base + path, data=data, headers=headers or JSON, ssl=self._context) as answer:
            yield answer
