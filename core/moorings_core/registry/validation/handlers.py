"""Rules of what is done to a container from outside: probes and hooks. Source: upstream's validateHandler and who calls it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from moorings_core.ports.objects import Object

from . import names
from .errors import FieldError, Path, forbidden, invalid, not_supported, required

SCHEMES = ("HTTP", "HTTPS")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
HEADER_WORDS = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is "
    "'[-A-Za-z0-9]+')"
)
Handler = Callable[[Any, Path, int], list[FieldError]]


def probe(given: Object, path: Path, grace: int) -> list[FieldError]:
    """Return what is wrong with a probe; grace: the seconds that its pod has to end."""
    found = handler(given, path, grace)
    found += [invalid(path / f, given[f], "must be greater than or equal to 0") for f in NUMBERS if given.get(f, 0) < 0]
    own = given.get("terminationGracePeriodSeconds")
    if own is not None and own <= 0:
        found.append(invalid(path / "terminationGracePeriodSeconds", own, "must be greater than 0"))
    if "readinessProbe" in path:
        if own is not None:
            found.append(invalid(path / "terminationGracePeriodSeconds", own, "must not be set for readinessProbes"))
    elif given.get("successThreshold", 1) != 1:
        found.append(invalid(path / "successThreshold", given["successThreshold"], "must be 1"))
    return found


def lifecycle(given: Object, path: Path, grace: int) -> list[FieldError]:
    """Return what is wrong with a container's hooks."""
    return [error for f in ("postStart", "preStop") if given.get(f) is not None for error in handler(given[f], path / f, grace)]


def handler(given: Object, path: Path, grace: int) -> list[FieldError]:
    """Return what is wrong with a handler: there is one, and it is whole."""
    there = [name for name in HANDLERS if given.get(name) is not None]
    if not there:
        return [required(path, "must specify a handler type")]
    found = HANDLERS[there[0]](given[there[0]], path / there[0], grace)
    return found + [forbidden(path / name, "may not specify more than 1 handler type") for name in there[1:]]


def port(given: int | str, path: Path) -> list[FieldError]:
    """Return what is wrong with a port's number or name."""
    if isinstance(given, int):
        return [] if 0 < given < 65536 else [invalid(path, given, "must be between 1 and 65535, inclusive")]
    return [invalid(path, given, complaint) for complaint in names.port_name_complaints(given)]


def _exec(given: Object, path: Path, grace: int) -> list[FieldError]:
    return [] if given.get("command") else [required(path / "command")]


def _http(given: Object, path: Path, grace: int) -> list[FieldError]:
    found = [] if given.get("path") else [required(path / "path")]
    found += port(given.get("port", 0), path / "port")
    if given.get("scheme") not in SCHEMES:
        found.append(not_supported(path / "scheme", given.get("scheme", ""), SCHEMES))
    for header in given.get("httpHeaders") or ():
        if not re.fullmatch(r"[-A-Za-z0-9]+", header.get("name", "")):
            found.append(invalid(path / "httpHeaders", header.get("name", ""), HEADER_WORDS))
    return found


def _tcp(given: Object, path: Path, grace: int) -> list[FieldError]:
    return port(given.get("port", 0), path / "port")


def _sleep(given: Object, path: Path, grace: int) -> list[FieldError]:
    seconds = given.get("seconds", 0)
    text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [] if 0 <= seconds <= grace else [invalid(path, seconds, text)]


HANDLERS: dict[str, Handler] = {"exec": _exec, "httpGet": _http, "tcpSocket": _tcp, "grpc": _tcp, "sleep": _sleep}
