"""Versions of a definition as upstream's own structures show them, where an answer says what is wrong with all of them.

Source: the Go structures of apiextensions-apiserver's pkg/apis/apiextensions, whose fields have no other names in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moorings_core.ports.objects import Object

PARTS = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
_SCHEMA: Mapping[str, Any] = {
    "ID": "", "Schema": "", "Ref": None, "Description": "", "Type": "", "Nullable": False, "Format": "", "Title": "", "Default": None,
    "Maximum": None, "ExclusiveMaximum": False, "Minimum": None, "ExclusiveMinimum": False, "MaxLength": None, "MinLength": None,
    "Pattern": "", "MaxItems": None, "MinItems": None, "UniqueItems": False, "MultipleOf": None, "Enum": None, "MaxProperties": None,
    "MinProperties": None, "Required": None, "Items": None, "AllOf": None, "OneOf": None, "AnyOf": None, "Not": None, "Properties": None,
    "AdditionalProperties": None, "PatternProperties": None, "Dependencies": None, "AdditionalItems": None, "Definitions": None,
    "ExternalDocs": None, "Example": None, "XPreserveUnknownFields": None, "XEmbeddedResource": False, "XIntOrString": False,
    "XListMapKeys": None, "XListType": None, "XMapType": None, "XValidations": None,
}  # fmt: skip
_RULE = {"Rule": "", "Message": "", "MessageExpression": "", "Reason": None, "FieldPath": "", "OptionalOldSelf": None}
_COLUMN = {"Name": "", "Type": "", "Format": "", "Description": "", "Priority": 0, "JSONPath": ""}
_SCALE = {"SpecReplicasPath": "", "StatusReplicasPath": "", "LabelSelectorPath": None}


def shared(versions: Sequence[Object]) -> list[str]:
    """Return the parts that all versions have alike: upstream keeps them once, beside the versions."""
    return [field for field in PARTS if versions and all(version.get(field) == versions[0].get(field) for version in versions)]


def shown(versions: Sequence[Object]) -> list[Object]:
    """Return versions as upstream shows them, without what all have in common."""
    common = shared(versions)
    return [
        {"Name": version.get("name", "")}
        | {field.capitalize(): bool(version.get(field)) for field in ("served", "storage", "deprecated")}
        | {"DeprecationWarning": version.get("deprecationWarning")}
        | {_go(field): None if field in common or version.get(field) is None else _PART[field](version[field]) for field in PARTS}
        for version in versions
    ]


def shown_rule(rule: Object) -> Object:
    """Return a CEL rule as upstream shows it."""
    return _filled(rule, _RULE)


def _go(field: str) -> str:
    """Return the name that a field has in Go: x-kubernetes-list-type, jsonPath, $ref."""
    words = field.removeprefix("$").replace("x-kubernetes-", "x-").split("-")
    name = "".join(word[:1].upper() + word[1:] for word in words)
    return {"Id": "ID", "JsonPath": "JSONPath", "Url": "URL"}.get(name, name)


def _filled(given: Object, empty: Mapping[str, Any]) -> Object:
    named = {_go(field): value for field, value in given.items()}
    return {field: named.get(field, value) for field, value in empty.items()}


def _schema(given: Object) -> Object:
    made = _filled(given, _SCHEMA)
    return made | {field: convert(made[field]) for field, convert in _IN_SCHEMA.items() if made[field] is not None}


def _each(schemas: list[Object]) -> list[Object]:
    return [_schema(schema) for schema in schemas]


def _by_name(schemas: dict[str, Object]) -> Object:
    return {name: _schema(schema) for name, schema in sorted(schemas.items())}


def _one_or_more(given: Any) -> Object:
    many = isinstance(given, list)
    return {"Schema": None if many else _schema(given), "JSONSchemas": _each(given) if many else None}


def _allowed(given: Any) -> Object:
    return {"Allows": given is not False, "Schema": _schema(given) if isinstance(given, dict) else None}


def _columns(given: list[Object]) -> list[Object]:
    return [_filled(column, _COLUMN) for column in given]


def _subresources(given: Object) -> Object:
    return {"Status": given.get("status"), "Scale": _filled(given["scale"], _SCALE) if given.get("scale") is not None else None}


_IN_SCHEMA: Mapping[str, Callable[[Any], Any]] = {
    "Items": _one_or_more,
    **dict.fromkeys(("AllOf", "OneOf", "AnyOf"), _each),
    "Not": _schema,
    **dict.fromkeys(("Properties", "PatternProperties", "Definitions"), _by_name),
    **dict.fromkeys(("AdditionalProperties", "AdditionalItems"), _allowed),
    "ExternalDocs": lambda given: _filled(given, {"Description": "", "URL": ""}),
    "XValidations": lambda given: [_filled(rule, _RULE) for rule in given],
}
_PART: Mapping[str, Callable[[Any], Any]] = {
    "schema": lambda given: {"OpenAPIV3Schema": None if (schema := given.get("openAPIV3Schema")) is None else _schema(schema)},
    "subresources": _subresources,
    "additionalPrinterColumns": _columns,
    "selectableFields": lambda given: [{"JSONPath": field.get("jsonPath", "")} for field in given],
}
