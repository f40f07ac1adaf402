"""URLs. Source: apiserver pkg/cel/library/urls.go; Go's net/url."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from .declare import URL, box, function, method, unbox

_WRONG = re.compile(r"[\x00-\x20\x7f]|%(?![0-9A-Fa-f]{2})")


def _parse(text: str) -> SplitResult:
    if not text or _WRONG.search(text.partition("?")[0]):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    found = urlsplit(text)
    if not text.startswith("/") and not found.scheme:
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    if found.scheme and not text[len(found.scheme) + 1 :].startswith("/"):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    try:
        assert found.port is None or found.port >= 0
    except ValueError as error:
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid port after host') from error
    return found


@function("url", "string", gives=URL)
def _url(text: str) -> Any:
    _parse(text)
    return box(URL, text)


@function("isURL", "string", gives="bool")
def _is_url(text: str) -> bool:
    try:
        _parse(text)
    except ValueError:
        return False
    return True


@method("getScheme", URL, gives="string")
def _scheme(value: Any) -> str:
    return _parse(unbox(value)).scheme


@method("getHost", URL, gives="string")
def _host(value: Any) -> str:
    return _parse(unbox(value)).netloc.rpartition("@")[2]


@method("getHostname", URL, gives="string")
def _hostname(value: Any) -> str:
    host = _host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


@method("getPort", URL, gives="string")
def _port(value: Any) -> str:
    port = _parse(unbox(value)).port
    return "" if port is None else str(port)


@method("getEscapedPath", URL, gives="string")
def _escaped_path(value: Any) -> str:
    return quote(unquote(_parse(unbox(value)).path), safe="/$&+,:;=@!*'()~")


@method("getQuery", URL, gives="map string list string")
def _query(value: Any) -> dict[str, list[str]]:
    return parse_qs(_parse(unbox(value)).query, keep_blank_values=True)
