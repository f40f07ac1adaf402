"""Rules of ResourceSlices: the devices that a driver offers. Source: upstream's pkg/apis/resource/validation and types."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import parse, render

from . import declared, devices, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, required, too_long, too_many
from .formats import driver_name, named
from .placement import node_selector

GROUP, SPEC = "resource.k8s.io", Path("spec")
DEVICES_MOST, ADVANCED_MOST = 128, 64
VALUES_MOST, TAINTS_MOST = 48, 16
COUNTER_SETS_MOST, COUNTERS_MOST, CONSUMED_MOST, OPTIONS_MOST = 8, 32, 2, 10
WHERE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
ONE_PLACE_EACH = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)
NOT_EACH = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
KINDS = ("int", "bool", "string", "version", "ints", "bools", "strings", "versions")
VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)
IMMUTABLE = "field is immutable"


def _slice(obj: Object, old: Object | None = None) -> list[FieldError]:
    spec = obj.get("spec") or {}
    listed, sets = spec.get("devices"), spec.get("sharedCounters")
    found = driver_name(spec.get("driver") or "", SPEC / "driver") + _pool(spec.get("pool") or {}, SPEC / "pool")
    found += (_moved(spec, old.get("spec") or {}) if old is not None else []) + _place(spec)
    if listed is not None and sets is not None:
        found.append(invalid(SPEC, "", "only one of `sharedCounters` or `devices` is allowed"))
    found += _devices(listed or (), each=spec.get("perDeviceNodeSelection") is True)
    return found + declared.late(_declared(listed or (), sets or ()))


def _pool(pool: Object, path: Path) -> list[FieldError]:
    found = devices.pool_name(pool.get("name") or "", path / "name")
    count: int = pool.get("resourceSliceCount") or 0
    generation: int = pool.get("generation") or 0
    if count <= 0:
        found.append(invalid(path / "resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        found.append(invalid(path / "generation", generation, "must be greater than or equal to zero"))
    return found


def _place(spec: Object) -> list[FieldError]:
    given, found = _nodes(spec, SPEC, "must be either unset or set to a non-empty string")
    if (selector := spec.get("nodeSelector")) is not None:
        terms = selector.get("nodeSelectorTerms")
        if len(terms or ()) != 1:
            found.append(invalid(SPEC / "nodeSelector" / "nodeSelectorTerms", terms, "must have exactly one node selector term"))
    for field in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(field) is True:
            given.append(field)
        elif spec.get(field) is not None:
            found.append(invalid(SPEC / field, spec[field], "must be either unset or set to true"))
    return found + _one_of(given, SPEC, ONE_PLACE, f"{ONE_PLACE}, but multiple fields are set")


def _nodes(place: Object, path: Path, empty: str) -> tuple[list[str], list[FieldError]]:
    """Return which of the fields that name nodes are given, and what is wrong with them; empty: what is said of an empty name."""
    node, selector = place.get("nodeName"), place.get("nodeSelector")
    found = named(node, path / "nodeName", names.subdomain) if node else []
    if node is not None and not node:
        found = [invalid(path / "nodeName", node, empty)]
    if selector is not None:
        found += node_selector(selector, path / "nodeSelector")
    return [field for field, given in (("nodeName", node), ("nodeSelector", selector is not None)) if given], found


def _one_of(given: Sequence[str], path: Path, none: str, many: str) -> list[FieldError]:
    if not given:
        return [required(path, none)]
    shown = ", ".join(f"`{field}`" for field in given)
    return [invalid(path, f"{{{shown}}}", many)] if len(given) > 1 else []


def _devices(listed: Sequence[Object], *, each: bool) -> list[FieldError]:
    advanced = any(d.get("taints") or d.get("consumesCounters") or _has_lists(d) for d in listed)
    most, path = ADVANCED_MOST if advanced else DEVICES_MOST, SPEC / "devices"
    if len(listed) > most:
        return [too_many(path, len(listed), most)]
    found = [error for i, device in enumerate(listed) for error in _device(device, path.at(i), each=each)]
    return found + declared.unique(path, [device.get("name", "") for device in listed])


def _has_lists(device: Object) -> bool:
    return any(kind in attribute for attribute in (device.get("attributes") or {}).values() for kind in KINDS[4:])


def _device(device: Object, path: Path, *, each: bool) -> list[FieldError]:
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    found = named(device.get("name", ""), path / "name", names.label)
    if len(attributes) + len(capacity) > devices.ATTRIBUTES_MOST:
        text = f"the total number of attributes and capacities must not exceed {devices.ATTRIBUTES_MOST}"
        found.append(invalid(path, len(attributes) + len(capacity), text))
    values = sum(sum(len(attribute.get(kind) or ()) for kind in KINDS[4:]) or 1 for attribute in attributes.values())
    if values > VALUES_MOST:
        found.append(invalid(path, values, f"the total number of attribute values must not exceed {VALUES_MOST}"))
    found += _map(attributes, path / "attributes", _attribute)
    shared = device.get("allowMultipleAllocations") is True
    found += _map(capacity, path / "capacity", _shared_capacity if shared else _capacity)
    taints = device.get("taints") or ()
    if len(taints) > TAINTS_MOST:
        found.append(too_many(path / "taints", len(taints), TAINTS_MOST))
    else:
        found += [error for i, taint in enumerate(taints) for error in devices.taint(taint, (path / "taints").at(i))]
    for i, consumed in enumerate(device.get("consumesCounters") or ()):
        where, counters = (path / "consumesCounters").at(i) / "counters", consumed.get("counters") or {}
        found += [too_many(where, len(counters), COUNTERS_MOST)] if len(counters) > COUNTERS_MOST else []
    return found + _device_place(device, path, each=each) + devices.conditions(device, path)


def _map(given: Object, path: Path, rule: Callable[[Object, Path], list[FieldError]]) -> list[FieldError]:
    return [error for name, value in given.items() for error in (*devices.attribute_name(name, path), *rule(value, path.at(name)))]


def _device_place(device: Object, path: Path, *, each: bool) -> list[FieldError]:
    node, selector, everywhere = (device.get(field) for field in ("nodeName", "nodeSelector", "allNodes"))
    if not each:
        return [] if node is None and selector is None and everywhere is None else [invalid(path, None, NOT_EACH)]
    given, found = _nodes(device, path, "must not be empty")
    if everywhere is True:
        given.append("allNodes")
    elif everywhere is not None:
        found.append(invalid(path / "allNodes", everywhere, "must be either unset or set to true"))
    return found + _one_of(given, path, ONE_PLACE_EACH, ONE_PLACE_EACH)


def _attribute(attribute: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for field, rule in (("string", _text), ("version", _version)):
        if attribute.get(field) is not None:
            found += rule(attribute[field], path / field)
        values = attribute.get(f"{field}s")
        found += [error for i, value in enumerate(values or ()) for error in rule(value, (path / f"{field}s").at(i))]
    return found


def _text(value: str, path: Path) -> list[FieldError]:
    return [too_long(path, devices.VALUE_MOST)] if len(value.encode()) > devices.VALUE_MOST else []


def _version(value: str, path: Path) -> list[FieldError]:
    wrong = [] if VERSION.fullmatch(value) else [invalid(path, value, "must be a string compatible with semver.org spec 2.0.0")]
    return wrong + _text(value, path)


def _capacity(capacity: Object, path: Path) -> list[FieldError]:
    policy = capacity.get("requestPolicy")
    return [] if policy is None else [forbidden(path / "requestPolicy", "allowMultipleAllocations must be true")]


def _shared_capacity(capacity: Object, path: Path) -> list[FieldError]:
    policy, where = capacity.get("requestPolicy"), path / "requestPolicy"
    if policy is None:
        return []
    values, bounds, default = policy.get("validValues"), policy.get("validRange"), policy.get("default")
    if values and bounds is not None:
        text = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        return [forbidden(where, text)]
    for field, given in (("validValues", values), ("validRange", bounds)):
        if given and default is None:
            return [required(where / "default", f"required when {field} is defined")]
    most = str(capacity.get("value") or "0")
    if values:
        return _options([str(value) for value in values], str(default), most, where / "validValues")
    return _range({k: str(v) for k, v in bounds.items()}, str(default), most, where / "validRange") if bounds else []


def _options(values: list[str], default: str, most: str, path: Path) -> list[FieldError]:
    found = [
        invalid(path.at(i + 1), values[i + 1], "values must be sorted in ascending order")
        for i in range(len(values) - 1)
        if parse(values[i]) > parse(values[i + 1])
    ]
    if len(values) > OPTIONS_MOST:
        found.append(too_many(path, len(values), OPTIONS_MOST))
    else:
        over = f"option is larger than capacity value: {most}"
        found += [invalid(path.at(i), value, over) for i, value in enumerate(values) if parse(value) > parse(most)]
        amounts = [parse(value) for value in values]
        found += [duplicate(path.at(i), values[i]) for i, amount in enumerate(amounts) if amount in amounts[:i]]
    if parse(default) not in map(parse, values):
        found.append(invalid(path, default, "default value is not valid according to the requestPolicy"))
    return found


def _range(bounds: dict[str, str], default: str, most: str, path: Path) -> list[FieldError]:
    least, highest = bounds.get("min"), bounds.get("max")
    if least is None:
        return [required(path / "min", "required when validRange is defined")]
    checks = [
        (parse(least) > parse(most), "min", least, f"min is larger than capacity value: {most}"),
        (parse(default) < parse(least), "default", default, f"default is less than min: {least}"),
    ]
    if highest is not None:
        checks += [
            (parse(least) > parse(highest), "max", least, f"min is larger than max: {highest}"),
            (parse(highest) > parse(most), "max", highest, f"max is larger than capacity value: {most}"),
            (parse(default) > parse(highest), "default", default, f"default is more than max: {highest}"),
        ]
    found = [invalid(path / field, shown, text) for wrong, field, shown, text in checks if wrong]
    step = bounds.get("step")
    return found if step is None else found + _steps(step, least, (default, highest), most, path / "step")


def _steps(step: str, least: str, values: tuple[str | None, ...], most: str, path: Path) -> list[FieldError]:
    size, start = parse(step), parse(least)
    if size <= 0:
        return [invalid(path, step, "must be greater than zero")]
    found: list[FieldError] = []
    if start + size > parse(most):
        first = render(start + size, binary=least.endswith("i"))
        found.append(invalid(path, step, f"one step {first} is larger than capacity value: {most}"))
    text = f"value is not a multiple of a given step ({step}) from ({least})"
    return found + [invalid(path, v, text) for v in values if v is not None and Fraction(parse(v) - start) % size != 0]


def _declared(listed: Sequence[Object], sets: Sequence[Object]) -> list[FieldError]:
    """Return what upstream finds by what it declares, after everything else."""
    found = [error for i, device in enumerate(listed) for error in _declared_device(device, (SPEC / "devices").at(i))]
    path = SPEC / "sharedCounters"
    if many := declared.few(path, sets, COUNTER_SETS_MOST):
        return found + many
    found += declared.unique(path, [each.get("name", "") for each in sets])
    return found + [error for i, each in enumerate(sets) for error in _counters(each, path.at(i), "name")]


def _counters(given: Object, path: Path, field: str) -> list[FieldError]:
    name, counters = given.get(field) or "", given.get("counters") or {}
    found = declared.short_name(name, path / field) if name else [required(path / field)]
    if not counters:
        return [*found, required(path / "counters")]
    return found + [error for key in sorted(counters) for error in declared.short_name(key, path / "counters")]


def _declared_device(device: Object, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for name, attribute in sorted((device.get("attributes") or {}).items()):
        given, every = [kind for kind in KINDS if attribute.get(kind) is not None], ", ".join(f"`{kind}`" for kind in KINDS)
        where = (path / "attributes").at(name)
        if not given:
            found.append(invalid(where, "", f"must specify one of: {every}"))
        elif len(given) > 1:
            found.append(invalid(where, f"{{{', '.join(given)}}}", f"must specify exactly one of: {every}"))
    consumed, where = device.get("consumesCounters") or [], path / "consumesCounters"
    many = declared.few(where, consumed, CONSUMED_MOST)
    found += many or declared.unique(where, [each.get("counterSet", "") for each in consumed])
    found += [e for i, each in enumerate(consumed if not many else ()) for e in _counters(each, where.at(i), "counterSet")]
    found += [e for i, taint in enumerate(device.get("taints") or ()) for e in devices.declared_taint(taint, (path / "taints").at(i))]
    return found + devices.declared_conditions(device, path)


def _moved(after: Object, before: Object) -> list[FieldError]:
    """Return which fields that say whose devices these are have changed."""
    pairs = [
        (SPEC / "pool" / "name", *((spec.get("pool") or {}).get("name", "") for spec in (after, before))),
        (SPEC / "driver", after.get("driver", ""), before.get("driver", "")),
        (SPEC / "nodeName", after.get("nodeName"), before.get("nodeName")),
    ]
    return [invalid(path, value, IMMUTABLE) for path, value, was in pairs if value != was]


CREATE = {(GROUP, "resourceslices"): _slice}
UPDATE = {(GROUP, "resourceslices"): _slice}
