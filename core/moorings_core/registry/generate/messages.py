"""Protobuf field numbers: message name -> {number: [JSON name, type, label]}; label: "", "bare", "repeated", "map" or "inline".

A proto field's name differs from its JSON name in a few places (letter case, embedded Go structs); the schema tells which.
A "bare" field has no pointer in Go, which then writes it even when there is nothing: only the Go struct tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

STABLE_PACKAGE = re.compile(r".*\.(v\d+|intstr|resource|runtime)")
GO_STRUCT = re.compile(r"^type (\w+) struct {")
GO_BARE = re.compile(r"^\t(?:\w+\s+)?[\w.]+\s+`.*protobuf:\"\w+,(\d+),(?:opt|rep)")  # a tag may say rep of what is no list
FIELD = re.compile(r"^\s*(optional|repeated|required)?\s*(map<\s*(\S+?)\s*,\s*(\S+?)\s*>|\S+)\s+(\w+)\s*=\s*(\d+)\s*(\[.*\])?;")

Fields = dict[str, list[str]]


def messages(modules: Iterable[Path], definitions: dict[str, Any]) -> dict[str, Fields]:
    """Return the messages of every stable package below the modules, and what they refer to elsewhere."""
    found: dict[str, Fields] = {}
    for module in modules:
        for file in sorted(module.rglob("generated.proto")):
            parsed = _parse(file.read_text())
            _mark_bare(parsed, file.parent)
            found.update(parsed)
    pending = [name for name in found if STABLE_PACKAGE.fullmatch(name.rpartition(".")[0])]
    kept: dict[str, Fields] = {}
    while pending:
        name = pending.pop()
        if name in kept or name not in found:
            continue
        properties = definitions.get(_definition_name(name), {}).get("p")
        kept[name] = {number: _json_field(field, properties) for number, field in found[name].items()}
        pending.extend(field[1] for field in found[name].values())
    return kept


def _parse(text: str) -> dict[str, Fields]:
    package, message = "", ""
    found: dict[str, Fields] = {}
    for line in text.splitlines():
        if line.startswith("package "):
            package = line.removeprefix("package ").rstrip(";").strip()
        elif line.startswith("message "):
            message = f"{package}.{line.split()[1]}"
            found[message] = {}
        elif message and (match := FIELD.match(line)):
            found[message][match[6]] = _field(match, package)
    return found


def _mark_bare(parsed: dict[str, Fields], folder: Path) -> None:
    """Label the singular fields that are no pointers in the package's Go structs."""
    by_struct = {name.rpartition(".")[2]: fields for name, fields in parsed.items()}
    for source in sorted(folder.glob("*.go")):
        fields: Fields = {}
        for line in source.read_text().splitlines():
            if match := GO_STRUCT.match(line):
                fields = by_struct.get(match[1], {})
            elif (match := GO_BARE.match(line)) and fields.get(match[1], ["", "", "x"])[2] == "":
                fields[match[1]][2] = "bare"


def _field(match: re.Match[str], package: str) -> list[str]:
    if match[3]:
        return [match[5], _qualified(match[4], package), "map"]
    return [match[5], _qualified(match[2], package), "repeated" if match[1] == "repeated" else ""]


def _qualified(name: str, package: str) -> str:
    name = name.lstrip(".")
    return name if "." in name or name[0].islower() else f"{package}.{name}"


def _json_field(field: list[str], properties: dict[str, Any] | None) -> list[str]:
    name, kind, label = field
    if properties is None or name in properties:
        return field
    same = [p for p in properties if p.lower() == name.lower()]
    if same:
        return [same[0], kind, label]
    return [name, kind, "inline"] if kind.startswith("k8s.io.") and label in ("", "bare") else field


def _definition_name(message: str) -> str:
    return "io.k8s." + message.removeprefix("k8s.io.").replace("_", "-", 1)
