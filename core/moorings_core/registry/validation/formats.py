"""Texts of a form that many kinds have: each function returns what is wrong with one, at its path.

Source: apimachinery's util/validation, and upstream's ValidateQualifiedName and ValidateCSIDriverName.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from . import names
from .errors import FieldError, Path, invalid, required, too_long

HTTP_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
DRIVER_NAME_MOST = 63


def named(value: str | None, path: Path, rule: Callable[[str], str]) -> list[FieldError]:
    """Return what a rule of `names` says of a text; None is not there and right."""
    complaint = rule(value) if value is not None else ""
    return [invalid(path, value, complaint)] if complaint else []


def needed(value: str | None, path: Path, rule: Callable[[str], str]) -> list[FieldError]:
    """Return what is wrong with a text that must be there and keep a rule of `names`."""
    return named(value, path, rule) if value else [required(path)]


def qualified(value: str, path: Path) -> list[FieldError]:
    """Return all that is wrong with a name that may have a prefix, as a label's key."""
    return [invalid(path, value, complaint) for complaint in names.label_key_complaints(value)]


def domain_path(value: str, path: Path) -> list[FieldError]:
    """Return what is wrong with a path of HTTP after a domain, as controllers are called: acme.io/foo."""
    if not value:
        return [required(path)]
    host, _, rest = value.partition("/")
    if not host or not rest:
        return [invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found = named(host, path, names.subdomain)
    if not HTTP_PATH.fullmatch(rest):
        found.append(invalid(path, rest, f"Invalid path (regex used for validation is '{HTTP_PATH.pattern}')"))
    return found


def driver_name(value: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of a CSI driver."""
    if not value:
        return [required(path)]
    found = [too_long(path, DRIVER_NAME_MOST)] if len(value) > DRIVER_NAME_MOST else []
    complaint = names.subdomain(value.lower())
    return [*found, invalid(path, value, complaint)] if complaint else found


def domain_name(value: str, path: Path) -> list[FieldError]:
    """Return what is wrong with a fully qualified domain name; a dot may end it."""
    if not value:
        return [required(path)]
    name = value.removesuffix(".")
    if complaint := names.subdomain(name):
        return [invalid(path, name, complaint)]
    if "." not in name:
        return [invalid(path, name, "should be a domain with at least two segments separated by dots")]
    return next((found for part in name.split(".") if (found := named(part, path, names.label))), [])
