"""The levels and versions that a namespace asks for by its labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from moorings_core.ports.cluster import PodSecurityConfig
from moorings_core.registry.validation.errors import FieldError, invalid

LEVELS = ("privileged", "baseline", "restricted")
PREFIX = "pod-security.kubernetes.io/"
LATEST = -1
_VERSION = re.compile(r"v1\.(0|[1-9]\d*)")


@dataclass(frozen=True, slots=True)
class Level:
    """A level at a version (the minor of v1.MINOR, or LATEST)."""

    name: str
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.name}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"

    @property
    def rank(self) -> int:
        """How strict it is."""
        return LEVELS.index(self.name)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace refuses, what it notes for the audit, and what it warns of."""

    enforce: Level
    audit: Level
    warn: Level

    @property
    def is_open(self) -> bool:
        """Whether nothing is looked at."""
        return self.enforce.name == self.audit.name == self.warn.name == "privileged"


def defaults(config: PodSecurityConfig) -> Policy:
    """Return what holds where a namespace says nothing."""
    return Policy(Level(config.enforce), Level(config.audit), Level(config.warn))


def policy_of(labels: Mapping[str, str], default: Policy) -> tuple[Policy, list[FieldError]]:
    """Return the policy that labels ask for and what is wrong with them: enforcing fails closed, the rest open."""
    found: dict[str, Level] = {"enforce": default.enforce, "audit": default.audit, "warn": default.warn}
    errors: list[FieldError] = []
    for mode in found:
        label = f"{PREFIX}{mode}"
        if (level := labels.get(label)) is not None:
            known = level in LEVELS
            found[mode] = replace(found[mode], name=level if known else "restricted" if mode == "enforce" else "privileged")
            errors += [] if known else [_wrong(label, level, f"must be one of {', '.join(LEVELS)}")]
        if (version := labels.get(f"{label}-version")) is not None:
            match = _VERSION.fullmatch(version)
            found[mode] = replace(found[mode], minor=int(match[1]) if match else LATEST)
            errors += [] if match or version == "latest" else [_wrong(f"{label}-version", version, 'must be "latest" or "v1.x"')]
    enforced, warned = found["enforce"], found["warn"]
    if f"{PREFIX}warn" not in labels and labels.get(f"{PREFIX}enforce") in LEVELS and enforced.rank > warned.rank:
        found["warn"] = replace(warned, name=enforced.name) if f"{PREFIX}warn-version" in labels else enforced
    return Policy(**found), errors


def _wrong(label: str, value: str, why: str) -> FieldError:
    return invalid(f"metadata.labels[{label}]", value, why)
