"""How Go writes a field that holds nothing: left out, null, or the zero of its type. Only the Go structs tell.

The short key is g: w the zero is written, n null is written, p the field is a pointer, so that a zero that was given stays. A field
without it is left out when it holds nothing.
The short key b names the embedded structs that a field is in. Source: encoding/json on the `json` tags of k8s.io/api and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

STRUCT = re.compile(r"^type (\w+) struct {")
FIELD = re.compile(r'^\t(?:(\w+)\s+)?(\S.*?)\s+`.*json:"([^",]*)((?:,\w+)*)"')
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
STRUCTS = {
    f"{META}Time",
    f"{META}MicroTime",
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
}
"""What OpenAPI calls a string, a number or anything, and Go has as a structure"""
Fields = dict[str, tuple[str, str, str]]
"""The fields of a struct: their Go type, the options of their tag, and the path of embedded structs that they are in"""


def mark(modules: Iterable[Path], definitions: dict[str, Any]) -> None:
    """Note in the definitions how each field is written when it holds nothing."""
    structs: dict[str, Fields] = {}
    for module in modules:
        for file in sorted(module.rglob("*types*.go")) + sorted(module.rglob("meta/v1/*.go")):
            if not file.name.endswith("_test.go"):
                package = ".".join(("io.k8s", module.name.partition("@")[0], *file.parent.relative_to(module).parts))
                structs.update(_structs(file.read_text(), package))
    for name, definition in definitions.items():
        fields = _flat(name, structs)
        for field, node in definition.get("p", {}).items():
            kind, options, embedded = fields.get(field, ("*", ",omitempty", ""))
            shape = _shape(node, (kind, options), definitions)
            node |= {key: value for key, value in (("g", shape), ("b", embedded)) if value}


def _structs(text: str, package: str) -> dict[str, Fields]:
    found: dict[str, Fields] = {}
    fields: Fields = {}
    for line in text.splitlines():
        if match := STRUCT.match(line):
            fields = found[f"{package}.{match[1]}"] = {}
        elif match := FIELD.match(line):
            name = match[3] or match[2]
            embedded = match[1] is None and not match[3]
            fields[name] = (match[2], f"{match[4]},inline" if embedded else match[4], "")
    return found


def _flat(name: str, structs: Mapping[str, Fields]) -> Fields:
    """Return the fields of a struct with those of the structs that it embeds from its own package."""
    own: Fields = {}
    for field, (kind, options, _) in structs.get(name, {}).items():
        if "inline" in options:
            inner = _flat(f"{name.rpartition('.')[0]}.{kind}", structs)
            own |= {f: (k, o, f"{kind}.{within}".rstrip(".")) for f, (k, o, within) in inner.items()}
        else:
            own[field] = (kind, options, "")
    return own


def _shape(node: dict[str, Any], field: tuple[str, str], definitions: Mapping[str, Any]) -> str:
    kind, options = field
    left_out = "omitempty" in options
    if kind.startswith("*"):
        return "p" if left_out else "n"
    target = definitions.get(node.get("r", ""), node)
    if "i" in target or "v" in target or target.get("f") == "byte":
        return "" if left_out else "n"
    if "p" in target or node.get("r") in STRUCTS:
        return "" if "omitzero" in options else "w"
    return "" if left_out or "omitzero" in options else "w"
