"""Kinds that a CustomResourceDefinition makes, one for each version that it serves."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moorings_core.ports.objects import Object, Resource
from moorings_core.registry.columns.column import Column
from moorings_core.registry.kinds import Kind, Subresource
from moorings_core.registry.schema import check_types, find_unknown, named
from moorings_core.registry.schema import prune as prune_built_in
from moorings_core.registry.validation.errors import FieldError, invalid

from . import columns, definition, shape, values
from .schema import METADATA, CustomSchema

if TYPE_CHECKING:
    from .rules import RuleNode

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
CHANGES = ("get", "patch", "update")
_IN_MAP = re.compile(r"(ObjectMeta\.(?:labels|annotations))\.\S+")
BLOCKING = ("FieldValueNotSupported", "FieldValueRequired", "FieldValueTypeInvalid", "FieldValueTooLong", "FieldValueTooMany")
"""What keeps rules from being run: they may take the types and bounds of the schema for granted"""
UNCHECKED = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
REPLICAS_MOST = 2**31 - 1


class CustomVersion:
    """One version of a custom kind: how its objects are read, written and shown."""

    def __init__(self, crd: Object, version: Object) -> None:
        self.name: str = version["name"]
        self.group: str = crd["spec"]["group"]
        self.storage: str = next(v["name"] for v in crd["spec"]["versions"] if v.get("storage"))
        self.raw: Object = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self.conversion: Object = crd["spec"].get("conversion") or {}
        subresources = version.get("subresources") or {}
        self.has_status = subresources.get("status") is not None
        self.scale: Object | None = subresources.get("scale")
        self.selectable = tuple(f["jsonPath"].removeprefix(".") for f in version.get("selectableFields") or ())
        self.deprecation = _deprecation(crd, version)
        self.terminating = definition.condition(crd, "Terminating") == "True"
        self.list_kind: str = crd["spec"]["names"]["listKind"]
        self._columns = version.get("additionalPrinterColumns") or ()
        self._defaulting = shape.has_defaults(self.raw)

    @functools.cached_property
    def schema(self) -> CustomSchema:
        """The nodes of its schema."""
        return CustomSchema(self.raw, root=True)

    @functools.cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its tables."""
        return columns.columns_of(self._columns)

    @functools.cached_property
    def rules(self) -> RuleNode | None:
        """Its CEL rules, None for none."""
        from .structural import has_rules

        if not has_rules(self.raw):
            return None
        from .rules import RuleNode

        return RuleNode(self.raw, root=True)

    @property
    def webhook(self) -> Object | None:
        """Who converts between versions; None: only the apiVersion differs."""
        return (self.conversion.get("webhook") or {}) if self.conversion.get("strategy") == "Webhook" else None

    @property
    def stored_version(self) -> str:
        """The apiVersion that its objects are stored in."""
        return f"{self.group}/{self.storage}"

    def decode(self, obj: Object, *, fill: bool = True) -> tuple[list[str], list[str]]:
        """Make a body an object of this version, in place; return (complaints about metadata, paths of unknown fields)."""
        metadata = obj.get("metadata")
        obj["metadata"] = metadata = metadata if isinstance(metadata, dict) else {}
        node = named(METADATA)
        wrong = [_IN_MAP.sub(r"\1", text) for _, text in check_types(metadata, node)]
        if wrong:
            return wrong, []
        unknown = find_unknown(metadata, node, "metadata")
        obj["metadata"] = prune_built_in(metadata, node)
        unknown += shape.prune(obj, self.raw, resource=True)
        if fill:
            shape.fill(obj, self.raw)
        return [], sorted(unknown)

    def present(self, obj: Object) -> Object:
        """Return a stored object of this version with the defaults that came after it was stored. Without any it is the same."""
        if not self._defaulting and obj["apiVersion"] == f"{self.group}/{self.name}":
            return obj
        made = {**copy.deepcopy(obj), "apiVersion": f"{self.group}/{self.name}"}
        shape.fill(made, self.raw)
        return made

    def prepare_create(self, obj: Object) -> None:
        """Take away what a client may not set on a new object."""
        if self.has_status:
            obj.pop("status", None)

    def prepare_update(self, new: Object, old: Object, subresource: str) -> None:
        """Restore what this update may not change, and count generations: anything but metadata makes a new one."""
        if subresource == "status":
            kept = {k: v for k, v in new["metadata"].items() if k in ("managedFields", "resourceVersion")}
            status = new.get("status")
            new.clear()
            new.update({k: v for k, v in old.items() if k != "status"})
            new["metadata"] = {k: v for k, v in old["metadata"].items() if k != "managedFields"} | kept
            if status is not None:
                new["status"] = status
            return
        if self.has_status:
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        changed = {k: v for k, v in new.items() if k != "metadata"} != {k: v for k, v in old.items() if k != "metadata"}
        known = old["metadata"].get("generation", 1)
        new["metadata"]["generation"] = known + 1 if changed else known

    def validate(
        self, new: Object, old: Object | None, subresource: str = "", wrong: Sequence[FieldError] = ()
    ) -> tuple[list[FieldError], list[str]]:
        """Return what is wrong with an object, and warnings; old is what it replaces, wrong what is known already."""
        found = self._shape_errors(new, old, subresource)
        found += _embedded(new, self.raw, "")
        found += self._scale_errors(new, subresource)
        if old is None or not list(values.doubles(old, self.raw)):
            found += values.doubles(new, self.raw)
        return self._judge(new, old, found, wrong)

    def _judge(
        self, new: Object, old: Object | None, found: list[FieldError], wrong: Sequence[FieldError]
    ) -> tuple[list[FieldError], list[str]]:
        if self.rules is None:
            return found, []
        if any(e.reason in BLOCKING for e in (*wrong, *found)):
            return [*found, FieldError("FieldValueInvalid", "<nil>", f"Invalid value: null: {UNCHECKED}")], []
        from .rules import Outcome

        outcome = Outcome()
        self.rules.run(new, values.ABSENT if old is None else old, "", outcome)
        return found + outcome.errors, outcome.warnings

    def _shape_errors(self, new: Object, old: Object | None, subresource: str) -> list[FieldError]:
        if subresource != "status":
            return values.validate(new, self.raw, "", values.ABSENT if old is None else old)
        schema = (self.raw.get("properties") or {}).get("status")
        if schema is None or "status" not in new:
            return []
        found = values.validate(new["status"], schema, "", (old or {}).get("status", values.ABSENT))
        return [e if e.field == "<nil>" else replace(e, field=f"status.{e.field}" if e.field else "status") for e in found]

    def _scale_errors(self, obj: Object, subresource: str) -> list[FieldError]:
        """Return what is wrong with the numbers that the scale shows: those of the spec, or with its status those of the status."""
        if self.scale is None:
            return []
        path = self.scale["statusReplicasPath" if subresource == "status" else "specReplicasPath"]
        found = columns.path(path)(obj)
        if not found:
            return []
        replicas = found[0]
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            kind = {str: "string", float: "float64", bool: "bool"}.get(type(replicas), "object")
            text = f"{path} accessor error: {values.plain(replicas)} is of the type {kind}, expected int64"
            return [invalid(path, 0, text)]
        if replicas < 0:
            return [invalid(path, replicas, "should be a non-negative integer")]
        if replicas > REPLICAS_MOST:
            return [invalid(path, replicas, f"should be less than or equal to {REPLICAS_MOST}")]
        return []


def _embedded(value: Any, schema: Any, path: str) -> Iterator[FieldError]:
    """Yield what is wrong with the objects within an object: they too say what they are."""
    if not isinstance(schema, dict):
        return
    if schema.get("x-kubernetes-embedded-resource") and isinstance(value, dict):
        for field in ("apiVersion", "kind"):
            if not value.get(field):
                yield FieldError("FieldValueRequired", f"{path}.{field}", "Required value")
    if isinstance(value, dict):
        fields, others = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, child in value.items():
            yield from _embedded(child, fields.get(name, others), f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _embedded(item, schema.get("items"), f"{path}[{index}]")


def _deprecation(crd: Object, version: Object) -> str:
    if not version.get("deprecated"):
        return ""
    name = f"{crd['spec']['group']}/{version['name']}"
    return str(version.get("deprecationWarning") or f"{name} {crd['spec']['names']['kind']} is deprecated")


def kinds_of(crd: Object) -> list[Kind]:
    """Return the kinds of an established definition, named as it was accepted."""
    spec, names = crd["spec"], crd["status"]["acceptedNames"]
    return [_kind(crd, version, names) for version in spec["versions"] if version.get("served")]


def _kind(crd: Object, version: Object, names: Object) -> Kind:
    spec = crd["spec"]
    resource = Resource(spec["group"], version["name"], names["plural"], names["kind"], spec["scope"] == "Namespaced")
    custom = CustomVersion(crd, version)
    subresources: dict[str, Subresource] = {}
    if custom.has_status:
        subresources["status"] = Subresource("status", resource.group, resource.version, resource.kind, CHANGES)
    if custom.scale is not None:
        subresources["scale"] = Subresource("scale", "autoscaling", "v1", "Scale", CHANGES)
    short, categories = tuple(names.get("shortNames") or ()), tuple(names.get("categories") or ())
    return Kind(resource, names.get("singular", ""), VERBS, short, categories, subresources, custom=custom)


def version_order(name: str) -> tuple[int, int, int, int, str]:
    """Return the key that sorts versions as upstream does: v2, v1, v1beta2, v1beta1, v1alpha1, then anything else by name."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", name)
    if match is None:
        return (1, 0, 0, 0, name)
    stage = {"": 0, "beta": 1, "alpha": 2}[match[2] or ""]
    return (0, stage, -int(match[1]), -int(match[3] or 0), name)


Reader = Callable[[Object], str]


def field_reader(path: str) -> Reader:
    """Return how a selectable field is read from an object."""
    find = columns.path(f".{path}")

    def read(obj: Object) -> str:
        found = find(obj)
        value = found[0] if found else ""
        return str(value).lower() if isinstance(value, bool) else str(value)

    return read


def sorted_versions(names: Sequence[str]) -> tuple[str, ...]:
    """Return the versions of a group, the preferred one first."""
    return tuple(sorted(names, key=version_order))
