"""Rules that claims, classes and slices of devices have in common. Source: upstream's pkg/apis/resource/validation."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from moorings_core.ports.objects import Object

from . import declared, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required, too_long
from .formats import driver_name, named, qualified

if TYPE_CHECKING:
    from moorings_core.cel.bounds import Bound

ID_MOST, DOMAIN_MOST, POOL_MOST = 32, 63, 253
SELECTORS_MOST, CONFIG_MOST, CONDITIONS_MOST = 32, 32, 4
EXPRESSION_MOST, PARAMETERS_MOST = 10 * 1024, 10 * 1024
COST_MOST, ATTRIBUTES_MOST, VALUE_MOST = 1_000_000, 32, 64
EFFECTS, OPERATORS = ("NoExecute", "NoSchedule", "None"), ("Equal", "Exists")
NO_DOMAIN = "a fully qualified name must be a domain and a name separated by a slash"
_VALUES = {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}}
_ANYTHING = {"type": "object", "additionalProperties": _VALUES}
DEVICE = {
    "type": "object",
    "properties": {
        "driver": {"type": "string"},
        "allowMultipleAllocations": {"type": "boolean"},
        "attributes": _ANYTHING,
        "capacity": _ANYTHING,
    },
}
"""What a selector's expression sees"""


def identifier(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with an identifier as in C."""
    found = [too_long(path, ID_MOST)] if len(name) > ID_MOST else []
    complaint = names.identifier(name)
    return [*found, invalid(path, name, complaint)] if complaint else found


def attribute_name(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of an attribute: an identifier, perhaps of a domain."""
    parts = name.split("/")
    if len(parts) == 1:
        return identifier(name, path)
    if len(parts) > 2:
        return []  # upstream overlooks these
    domain, local = parts
    found = driver_name(domain, path) if domain else [invalid(path, "", "the domain must not be empty")]
    return found + (identifier(local, path) if local else [invalid(path, "", "the name must not be empty")])


def full_attribute_name(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of an attribute that must have a domain; told as what is declared."""
    parts = name.split("/")
    if len(parts) == 1:
        return [*identifier(name, path), invalid(path, name, NO_DOMAIN)]
    if len(parts) > 2:
        return []
    domain, local = parts
    found = [too_long(path, DOMAIN_MOST)] if len(domain) > DOMAIN_MOST else []
    if not domain:
        found.append(invalid(path, "", "prefix must not be empty"))
    elif complaint := names.subdomain(domain):
        found.append(invalid(path, domain, f"prefix: {complaint}"))
    return found + (identifier(local, path) if local else [invalid(path, "", "name must not be empty")])


def pool_name(name: str, path: Path) -> list[FieldError]:
    """Return what is wrong with the name of a pool: subdomains with slashes between them."""
    if not name:
        return [required(path)]
    found = [too_long(path, POOL_MOST)] if len(name) > POOL_MOST else []
    return found + [error for part in name.split("/") for error in named(part, path, names.subdomain)]


def selectors(given: Sequence[Object], path: Path) -> list[FieldError]:
    """Return what is wrong with selectors of devices."""
    found: list[FieldError] = []
    for i, selector in enumerate(given if len(given) <= SELECTORS_MOST else ()):
        where = path.at(i) / "cel"
        if selector.get("cel") is None:
            found.append(required(where))
        else:
            found += _expression(selector["cel"].get("expression") or "", where / "expression")
    return found


def _expression(text: str, path: Path) -> list[FieldError]:
    from moorings_core.cel import CompileError, estimate, tree, typed  # large, and few objects have expressions

    if len(text.encode()) > EXPRESSION_MOST:
        return [too_long(path, EXPRESSION_MOST)]
    try:
        compiled = typed.compiled(text, {"device": DEVICE}, extensions=("bindings",))
    except CompileError as error:
        shown = str(error)
        return [invalid(path, text, f"compilation failed: {'' if shown.startswith('ERROR') else 'ERROR: '}{shown}")]
    given = typed.type_name(compiled)
    if given not in ("bool", "dyn", "any"):
        return [invalid(path, text, f"must evaluate to bool or the unknown type, not {given}")]
    most = estimate.cost(tree.read(compiled), {"device": _device()}, rooted=True).most
    return [forbidden(path, "too complex, exceeds cost limit")] if most > COST_MOST else []


@functools.cache
def _device() -> Bound:
    """Return how large a device can be that an expression sees. Source: dynamic-resource-allocation cel/compile.go."""
    from moorings_core.cel.bounds import Bound

    domain, local, value = Bound("string", DOMAIN_MOST), Bound("string", ID_MOST), Bound("dyn", VALUE_MOST)
    attributes = Bound("map", ATTRIBUTES_MOST, keys=local, values=value, others=value)
    capacities = Bound("map", ATTRIBUTES_MOST, keys=local, values=Bound("kubernetes.Quantity"))
    fields = {
        "driver": Bound("string", 63),
        "allowMultipleAllocations": Bound("bool", 1),
        "attributes": Bound("map", ATTRIBUTES_MOST, keys=domain, values=attributes),
        "capacity": Bound("map", ATTRIBUTES_MOST, keys=domain, values=capacities),
    }
    return Bound("struct", 0, 2, fields)


def configuration(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the configuration of a driver."""
    opaque = given.get("opaque")
    if opaque is None:
        return [required(path / "opaque")]
    parameters, where = opaque.get("parameters"), path / "opaque" / "parameters"
    if parameters is None:
        return [required(where)]
    if not isinstance(parameters, dict):
        return [invalid(where, "<value omitted>", "must be a valid JSON object")]
    return [too_long(where, PARAMETERS_MOST)] if size(parameters) > PARAMETERS_MOST else []


def declared_configuration(given: Object, path: Path) -> list[FieldError]:
    """Return what upstream finds in a configuration by what it declares."""
    opaque = given.get("opaque")
    return [] if opaque is None else declared.driver_name(opaque.get("driver") or "", path / "opaque" / "driver")


def size(value: Any) -> int:
    """Return the bytes of a value as JSON."""
    return len(json.dumps(value, separators=(",", ":")).encode())


def toleration(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a toleration of a device's taint."""
    operator, value = given.get("operator") or "", given.get("value") or ""
    if operator == "Exists" and value:
        return [invalid(path / "value", value, "must be empty for operator `Exists`")]
    return named(value, path / "value", names.label_value) if operator == "Equal" else []


def declared_toleration(given: Object, path: Path) -> list[FieldError]:
    """Return what upstream finds in a toleration by what it declares."""
    found = qualified(given["key"], path / "key") if given.get("key") else []
    for field, known in (("operator", OPERATORS), ("effect", EFFECTS)):
        value = given.get(field) or ""
        if value and value not in known:
            found.append(not_supported(path / field, value, known))
    return found


def taint(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with a device's taint."""
    value = given.get("value") or ""
    return qualified(given.get("key") or "", path / "key") + (named(value, path / "value", names.label_value) if value else [])


def declared_taint(given: Object, path: Path) -> list[FieldError]:
    """Return what upstream finds in a taint by what it declares."""
    effect = given.get("effect") or ""
    if not effect:
        return [required(path / "effect")]
    return [] if effect in EFFECTS else [not_supported(path / "effect", effect, EFFECTS)]


def conditions(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the conditions on which a device is bound, and on which that has failed."""
    good, bad = (given.get(field) or [] for field in ("bindingConditions", "bindingFailureConditions"))
    found: list[FieldError] = []
    for field, listed in (("bindingConditions", good), ("bindingFailureConditions", bad)):
        if len(listed) <= CONDITIONS_MOST:
            found += [error for i, name in enumerate(listed) for error in qualified(name, (path / field).at(i))]
    found += [duplicate((path / "bindingConditions").at(i), name) for i, name in enumerate(good) if name in good[:i]]
    for i, name in enumerate(bad):
        where = (path / "bindingFailureConditions").at(i)
        if name in bad[:i]:
            found.append(duplicate(where, name))
        if name in good:
            found.append(invalid(where, name, "bindingFailureConditions must not overlap with bindingConditions"))
    if bad and not good:
        found.append(invalid(path / "bindingConditions", None, "bindingConditions are required to use bindingFailureConditions"))
    if good and not bad:
        found.append(invalid(path / "bindingFailureConditions", None, "bindingFailureConditions are required to use bindingConditions"))
    return found


def declared_conditions(given: Object, path: Path) -> list[FieldError]:
    """Return which of these lists are too long."""
    fields = ("bindingConditions", "bindingFailureConditions")
    return [error for field in fields for error in declared.few(path / field, given.get(field), CONDITIONS_MOST)]


def template_metadata(given: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the metadata of a template: labels and annotations are all that it may have."""
    from .metadata import check_annotations, check_labels

    found = check_annotations(given.get("annotations") or {}, path / "annotations")
    found += check_labels(given.get("labels") or {}, path / "labels")
    there = [field for field in _METADATA if given.get(field) not in (None, "", 0, [], {})]
    return found + [forbidden(path / _told(field), "cannot be set") for field in there]


_METADATA = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


def _told(field: str) -> str:
    """Return how upstream calls a field: by the name in its structure, with a small first letter."""
    return "uID" if field == "uid" else field
