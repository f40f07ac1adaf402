"""Typed reading of a YAML document whose every error names file, line, field path and what was expected.

A parser is a function from a Cursor (one YAML node with its path) to a value; `record` combines parsers into a dataclass.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import yaml

from moorings_core.ports.errors import MooringsError

T = TypeVar("T")
Parser = Callable[["Cursor"], T]


class ConfigError(MooringsError):
    """A field of the cluster file is wrong: where it stands and what was expected there."""

    exit_code = 2

    def __init__(self, source: str, line: int, path: str, expected: str) -> None:
        super().__init__(f"{source}:{line}: {path or 'the document'}: {expected}")
        self.source, self.line, self.path, self.expected = source, line, path, expected


@dataclass(frozen=True, slots=True)
class Cursor:
    """One YAML node, its path in the document and the name of the source."""

    node: yaml.Node
    path: str
    source: str

    def fail(self, expected: str) -> ConfigError:
        """Return the error for this node; the caller raises it."""
        return ConfigError(self.source, self.node.start_mark.line + 1, self.path, expected)

    def value(self) -> Any:
        """Return the node as plain Python values."""
        return yaml.SafeLoader("").construct_document(self.node) if self.node is not None else None

    def fields(self) -> dict[str, Cursor]:
        """Return a mapping's fields; duplicates are an error."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.fail(f"expected a mapping, got {self.describe()}")
        found: dict[str, Cursor] = {}
        for key, child in self.node.value:
            cursor = Cursor(child, f"{self.path}.{key.value}".lstrip("."), self.source)
            if key.value in found:
                raise ConfigError(self.source, key.start_mark.line + 1, cursor.path, "is given twice")
            found[str(key.value)] = cursor
        return found

    def items(self) -> list[Cursor]:
        """Return a sequence's items."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.fail(f"expected a list, got {self.describe()}")
        return [Cursor(child, f"{self.path}[{i}]", self.source) for i, child in enumerate(self.node.value)]

    def describe(self) -> str:
        """Return what stands here in a few words."""
        if isinstance(self.node, yaml.ScalarNode):
            return repr(self.node.value)
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"


def parse_document(text: str, source: str) -> Cursor | None:
    """Return the root of a YAML document, or None when it is empty. Raises ConfigError where it is no YAML."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(source, line, "", f"not valid YAML: {error.problem}") from error
    return None if node is None else Cursor(node, "", source)


def record(kind: Callable[..., T], fields: Mapping[str, tuple[str, Parser[Any]]]) -> Parser[T]:
    """Return a parser of mappings into `kind`; fields maps a name in the file to (attribute, parser)."""

    def parse(cursor: Cursor) -> T:
        values = {}
        for name, child in cursor.fields().items():
            if name not in fields:
                raise child.fail(f"no such field; {_suggest(name, list(fields))}")
            attribute, parser = fields[name]
            values[attribute] = parser(child)
        return kind(**values)

    return parse


def many(parser: Parser[T]) -> Parser[tuple[T, ...]]:
    """Return a parser of lists."""
    return lambda cursor: tuple(parser(item) for item in cursor.items())


def text(cursor: Cursor) -> str:
    """Parse a non-empty string."""
    value = cursor.value()
    if not isinstance(value, str) or not value:
        raise cursor.fail(f"expected a string, got {cursor.describe()}")
    return value


def any_text(cursor: Cursor) -> str:
    """Parse a string, the empty one too."""
    value = cursor.value()
    if not isinstance(value, str):
        raise cursor.fail(f"expected a string, got {cursor.describe()}")
    return value


def https_url(cursor: Cursor) -> str:
    """Parse a URL that is reached by TLS."""
    value = text(cursor)
    if not re.fullmatch(r"https://[^/?#\s]+(/[^?#\s]*)?", value):
        raise cursor.fail(f"expected a URL such as https://issuer.example.org, got {value!r}")
    return value


def name(cursor: Cursor) -> str:
    """Parse a DNS label: lower-case letters, digits and dashes."""
    value = text(cursor)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
        raise cursor.fail(f"expected a name of lower-case letters, digits and '-' (at most 63), got {value!r}")
    return value


def boolean(cursor: Cursor) -> bool:
    """Parse true or false."""
    value = cursor.value()
    if not isinstance(value, bool):
        raise cursor.fail(f"expected true or false, got {cursor.describe()}")
    return value


def integer(low: int, high: int) -> Parser[int]:
    """Return a parser of whole numbers from low to high."""

    def parse(cursor: Cursor) -> int:
        value = cursor.value()
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise cursor.fail(f"expected a whole number from {low} to {high}, got {cursor.describe()}")
        return value

    return parse


def number(low: float) -> Parser[float]:
    """Return a parser of numbers not below low."""

    def parse(cursor: Cursor) -> float:
        value = cursor.value()
        if not isinstance(value, int | float) or isinstance(value, bool) or value < low:
            raise cursor.fail(f"expected a number of at least {low:g}, got {cursor.describe()}")
        return float(value)

    return parse


def choice(*allowed: str) -> Parser[str]:
    """Return a parser of one of the allowed words."""

    def parse(cursor: Cursor) -> str:
        value = cursor.value()
        if value not in allowed:
            raise cursor.fail(f"expected one of {', '.join(allowed)}, got {cursor.describe()}")
        return str(value)

    return parse


def network(cursor: Cursor) -> str:
    """Parse an address range such as 10.64.0.0/16."""
    try:
        return str(ipaddress.ip_network(text(cursor)))
    except ValueError as error:
        raise cursor.fail(f"expected an address range such as 10.64.0.0/16: {error}") from error


def address(cursor: Cursor) -> str:
    """Parse an IP address."""
    try:
        return str(ipaddress.ip_address(text(cursor)))
    except ValueError as error:
        raise cursor.fail(f"expected an IP address: {error}") from error


def free_form(cursor: Cursor) -> dict[str, Any]:
    """Parse a mapping that belongs to a backend: any fields."""
    cursor.fields()
    value: dict[str, Any] = cursor.value()
    return value


def labels(cursor: Cursor) -> dict[str, str]:
    """Parse a mapping of strings."""
    return {key: text(child) for key, child in cursor.fields().items()}


def _suggest(given: str, known: list[str]) -> str:
    near = get_close_matches(given, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
