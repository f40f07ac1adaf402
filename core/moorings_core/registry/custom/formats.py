"""The formats of strings that are checked. Source: kube-openapi pkg/validation/strfmt; unknown formats are not checked."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from moorings_core.registry.validation import names

_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[tT ]\d{2}:\d{2}:\d{2}(\.\d+)?([zZ]|[+-]\d{2}:\d{2})")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_DURATION = re.compile(r"[+-]?(0|(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d|w))*)")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?")
_MAC = re.compile(r"(?i)([0-9a-f]{2}[:-]){5}[0-9a-f]{2}|([0-9a-f]{4}\.){2}[0-9a-f]{4}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def test(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return test


def _uuid(version: int) -> Callable[[str], bool]:
    form = re.compile(rf"(?i)[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{version}[0-9a-f]{{3}}-?[0-9a-f]{{4}}-?[0-9a-f]{{12}}")
    return lambda text: form.fullmatch(text) is not None


def _matches(form: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: form.fullmatch(text) is not None


def _network(text: str) -> object:
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_interface(text)


def _uri(text: str) -> object:
    if not text.startswith("/") and not urlsplit(text).scheme:
        raise ValueError(text)
    return text


FORMATS: dict[str, Callable[[str], bool]] = {
    "datetime": _matches(_DATE_TIME),
    "date": _parses(datetime.date.fromisoformat),
    "duration": _matches(_DURATION),
    "byte": _parses(lambda text: base64.b64decode(text, validate=True)),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(_network),
    "uri": _parses(_uri),
    "uuid": _matches(_UUID),
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
    "hostname": _matches(_HOSTNAME),
    "mac": _matches(_MAC),
    "email": _matches(_EMAIL),
    "k8sshortname": lambda text: not names.label(text),
    "k8slongname": lambda text: not names.subdomain(text),
}
"""By name without dashes, as upstream compares them"""
