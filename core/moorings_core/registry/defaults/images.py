"""References to images, as far as their tag decides when they are pulled. Source: distribution/reference, ParseNormalizedNamed."""

from __future__ import annotations

import re

MOST_LETTERS = 255
HUB = "docker.io/"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?P<name>{_DOMAIN}/{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?"
    r"(?P<digest>@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def is_latest(image: str) -> bool:
    """Whether an image is whatever is newest; what is no reference is none, and neither is what looks like an image's number."""
    if re.fullmatch(r"[0-9a-f]{64}", image):
        return False
    found = _REFERENCE.fullmatch(_normal(image))
    if found is None or len(found["name"]) > MOST_LETTERS:
        return False
    return (found["tag"] or "latest") == "latest" and (found["tag"] is not None or found["digest"] is None)


def pull_policy(image: str) -> str:
    """Return when an image is pulled where nothing is said."""
    return "Always" if is_latest(image) else "IfNotPresent"


def _normal(image: str) -> str:
    """Return a reference with its registry: the first part names one if it looks like a host."""
    first, slash, _ = image.partition("/")
    is_host = slash and (first == "localhost" or "." in first or ":" in first or first != first.lower())
    if is_host:
        return image
    return f"{HUB}{image}" if slash else f"{HUB}library/{image}"
