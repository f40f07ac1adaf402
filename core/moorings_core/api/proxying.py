"""What is answered through a proxy subresource, so that a browser can go on from there: links and redirections lead back here.

Source: upstream apimachinery/pkg/util/proxy/transport.go: URLs with a path from the root get the prefix of the proxied resource.
"""

from __future__ import annotations

import gzip
import html
import posixpath
import re
from collections.abc import AsyncIterator, Collection, Mapping
from urllib.parse import urlsplit, urlunsplit

from .http.message import Request, Response

MOST = 16 << 20
"""Bytes of a page whose links are looked at; a longer one is passed on as it is."""
LINKS = {
    "a": "href", "applet": "codebase", "area": "href", "audio": "src", "base": "href", "blockquote": "cite", "body": "background",
    "button": "formaction", "command": "icon", "del": "cite", "embed": "src", "form": "action", "frame": "longdesc src",
    "head": "profile", "html": "manifest", "iframe": "longdesc src", "img": "longdesc src usemap", "input": "src usemap formaction",
    "ins": "cite", "link": "href", "object": "classid codebase data usemap", "q": "cite", "script": "src", "source": "src",
    "video": "poster src",
}  # fmt: skip
TAG = re.compile(r"<([a-zA-Z][a-zA-Z0-9]*)(\s[^<>]*)>")
ATTRIBUTE = re.compile(r"""(\s)([a-zA-Z-]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")


def prefix_of(path: str) -> str:
    """Return a request's path up to the end of the subresource: /api/v1/nodes/NAME/proxy, /api/v1/namespaces/NAMESPACE/pods/NAME/proxy."""
    parts = path.split("/")
    return "/".join(parts[: 6 if parts[3:4] == ["nodes"] else 8])


def led_back(url: str, prefix: str, hosts: Collection[str]) -> str:
    """Return a URL as it has to be behind the prefix; hosts: names of the backend and of this server, as requests have them."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/"):
        return url
    path = parts.path
    if not path.startswith(prefix):
        path = posixpath.join(prefix, path.lstrip("/")) if path.strip("/") else f"{prefix}/"
    return urlunsplit(("", "", path, parts.query, parts.fragment))


def is_page(headers: Mapping[str, str]) -> bool:
    """Whether an answer's links are to be led back."""
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    return kind == "text/html" and headers.get("content-encoding", "identity").lower() in ("identity", "gzip")


def page_led_back(body: bytes, headers: Mapping[str, str], prefix: str, hosts: Collection[str]) -> bytes:
    """Return a page whose links lead back here, in the encoding that it has."""
    packed = headers.get("content-encoding", "").lower() == "gzip"
    text = (gzip.decompress(body) if packed else body).decode("latin-1")  # a byte a character: what is no link stays what it is

    def tag(found: re.Match[str]) -> str:
        names = LINKS.get(found[1].lower(), "").split()

        def attribute(part: re.Match[str]) -> str:
            value = part[4].strip("\"'")
            if part[2].lower() not in names:
                return part[0]
            changed = led_back(html.unescape(value), prefix, hosts)
            return part[0] if changed == html.unescape(value) else f'{part[1]}{part[2]}{part[3]}"{_escaped(changed)}"'

        return f"<{found[1]}{ATTRIBUTE.sub(attribute, found[2])}>" if names else found[0]

    changed = TAG.sub(tag, text).encode("latin-1")
    return gzip.compress(changed) if packed else changed


def _escaped(url: str) -> str:
    return html.escape(url).encode("ascii", "xmlcharrefreplace").decode()


def to_root(request: Request, rest: str) -> Response | None:
    """Return the redirection of who asks for the resource itself without a last "/": relative links would lead elsewhere; else None."""
    path, mark, query = request.target.partition("?")
    upgrading = "upgrade" in request.headers.get("connection", "").lower()
    if rest or path.endswith("/") or request.method not in ("GET", "HEAD") or upgrading:
        return None
    return Response(301, headers={"location": f"{path}/{mark}{query}"})


async def answered(response: Response, request: Request, backend: str) -> Response:
    """Return an answer of a backend ("host:port") with what leads to the backend led back here."""
    prefix, hosts = prefix_of(request.target.partition("?")[0]), (backend, request.headers.get("host", ""))
    if location := response.headers.get("location"):
        response.headers["location"] = led_back(location, prefix, hosts)
    elif response.stream is not None and is_page(response.headers):
        response.stream = _pages(response.stream, response.headers, prefix, hosts)
    return response


async def _pages(stream: AsyncIterator[bytes], headers: Mapping[str, str], prefix: str, hosts: Collection[str]) -> AsyncIterator[bytes]:
    parts: list[bytes] = []
    size = 0
    async for part in stream:
        parts.append(part)
        size += len(part)
        if size > MOST:
            break
    else:
        yield page_led_back(b"".join(parts), headers, prefix, hosts)
        return
    yield b"".join(parts)
    async for part in stream:
        yield part
