"""Names: DNS labels and subdomains, label keys and values. Each function returns "" or upstream's complaint."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
WILDCARD_WORDS = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case "
    "alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is "
    r"'\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_WORDS = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
PREFIXED_WORDS = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
CONFIG_KEY_WORDS = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
IDENTIFIER_WORDS = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' "
    "(e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")


def label(name: str) -> str:
    """A DNS label of RFC 1123."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    if _LABEL.fullmatch(name):
        return ""
    return LABEL_WORDS if subdomain(name) else "must not contain dots"


def label_1035(name: str) -> str:
    """A DNS label of RFC 1035, as services have."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    return "" if _LABEL_1035.fullmatch(name) else LABEL_1035_WORDS


def subdomain(name: str) -> str:
    """A DNS subdomain of RFC 1123."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    return "" if all(_LABEL.fullmatch(part) for part in name.split(".")) else SUBDOMAIN_WORDS


def wildcard(name: str) -> str:
    """A DNS subdomain under an asterisk (RFC 1034, 4.3.3)."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    return "" if name.startswith("*.") and not subdomain(name[2:]) else WILDCARD_WORDS


NOT_AN_ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def address(name: str) -> str:
    """An IP address in its canonical form, as IPAddress objects are named."""
    try:
        canonical = str(ipaddress.ip_address(name))
    except ValueError:
        plain = ".".join(part.lstrip("0") or "0" for part in name.split("."))
        return "must not have leading 0s" if plain != name and not address(plain) else NOT_AN_ADDRESS
    return "" if name == canonical else f'must be in canonical form ("{canonical}")'


def path_segment(name: str) -> str:
    """Anything that can stand in a URL's path, as RBAC names."""
    if name in (".", ".."):
        return f"may not be '{name}'"
    return next((f"may not contain '{c}'" for c in "/%" if c in name), "")


def label_key(key: str) -> str:
    """A key of labels, annotations and selectors; the first complaint alone."""
    return next(label_key_complaints(key), "")


def label_key_complaints(key: str) -> Iterator[str]:
    """Yield all that is wrong with a key of labels, annotations and selectors."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        yield f"a valid label key {QUALIFIED_WORDS.removeprefix('name part ')} {PREFIXED_WORDS}"
        return
    if slash and (complaint := subdomain(prefix) if prefix else "must be non-empty"):
        yield f"prefix part {complaint}"
    if not name or len(name) > 63:
        yield "name part must be non-empty" if not name else "name part must be no more than 63 bytes"
    if not _QUALIFIED.fullmatch(name):
        yield QUALIFIED_WORDS


def port_name(name: str) -> str:
    """A name of a container's port (IANA service name, RFC 6335); the first complaint alone."""
    return next(port_name_complaints(name), "")


def port_name_complaints(name: str) -> Iterator[str]:
    """Yield all that is wrong with a name of a port."""
    if len(name) > 15:
        yield "must be no more than 15 characters"
    if not re.fullmatch(r"[-a-z0-9]+", name):
        yield "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"
    if not re.search(r"[a-z]", name):
        yield "must contain at least one letter (a-z)"
    if "--" in name:
        yield "must not contain consecutive hyphens"
    if name.startswith("-") or name.endswith("-"):
        yield "must not begin or end with a hyphen"


def identifier(name: str) -> str:
    """An identifier as in C."""
    return "" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else IDENTIFIER_WORDS


def variable(name: str) -> str:
    """A name of an environment variable: printable ASCII without '='."""
    if all(" " <= c <= "~" and c != "=" for c in name):
        return ""
    return "a valid environment variable name must consist only of printable ASCII characters other than '='"


def label_value(value: str) -> str:
    """A value of a label."""
    if len(value) > 63:
        return "must be no more than 63 bytes"
    return "" if not value or _QUALIFIED.fullmatch(value) else VALUE_WORDS


def config_key(key: str) -> str:
    """A key of a ConfigMap or Secret."""
    if len(key) > 253:
        return "must be no more than 253 characters"
    if key in (".", "..") or key.startswith(".."):
        return "must not start with '..'" if key.startswith("..") and key != ".." else f"must not be '{key}'"
    return "" if re.fullmatch(r"[-._a-zA-Z0-9]+", key) else CONFIG_KEY_WORDS
