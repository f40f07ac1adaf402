"""CustomResourceDefinitions themselves: defaults, validation, what their status tells at once.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation, v1/defaults.go, registry/customresourcedefinition.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from urllib.parse import urlsplit

from moorings_core.ports.objects import Object
from moorings_core.registry.validation import names
from moorings_core.registry.validation.errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required
from moorings_core.registry.validation.registrations import client_config

from . import columns, internal, shape, structural

GROUP, PLURAL = "apiextensions.k8s.io", "customresourcedefinitions"
APPROVED = "api-approved.kubernetes.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
SELECTABLE_MOST = 8
SPEC = Path("spec")


def fill(obj: Object) -> None:
    """Put the defaults into a definition."""
    spec = obj.setdefault("spec", {})
    given = spec.get("names") or {}
    if not given.get("singular") and given.get("kind"):
        given["singular"] = given["kind"].lower()
    if not given.get("listKind") and given.get("kind"):
        given["listKind"] = f"{given['kind']}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def first_status(obj: Object) -> Object:
    """Return the status of a new definition."""
    empty: Object = {"kind": "", "plural": ""}
    return {"conditions": None, "acceptedNames": empty, "storedVersions": [v.get("name", "") for v in storage_versions(obj)[:1]]}


def storage_versions(obj: Object) -> list[Object]:
    """Return the versions that are marked as the stored one; of a valid definition it is exactly one."""
    return [v for v in (obj.get("spec") or {}).get("versions") or () if v.get("storage")]


def note_stored(obj: Object) -> None:
    """Note in the status which versions objects may be stored in."""
    status = obj.setdefault("status", {})
    known = list(status.get("storedVersions") or ())
    status["storedVersions"] = known + [name for v in storage_versions(obj)[:1] if (name := v.get("name", "")) not in known]


def validate_create(obj: Object) -> list[FieldError]:
    """Return what is wrong with a new definition."""
    spec = obj.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    found = []
    if obj["metadata"].get("name", wanted) != wanted:
        found.append(invalid("metadata.name", obj["metadata"]["name"], 'must be spec.names.plural+"."+spec.group'))
    return [*found, *_spec(spec), *_stored(obj), *_approval(obj, None), *_preserve(spec)]


def validate_update(new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with a changed definition."""
    spec, was = new.get("spec") or {}, old["spec"]
    found = [] if spec == was else list(_spec(spec, _unchanged(spec, was)))
    fixed = [("group",), ("names", "plural")]
    if condition(old, "Established") == "True":
        fixed = [("scope",), ("names", "kind"), *fixed]
    for place in fixed:
        now, before = _at(spec, place), _at(was, place)
        if now != before:
            found.append(invalid(Path(".".join(("spec", *place))), now, "field is immutable"))
    return [*found, *_stored(new), *_approval(new, old), *([] if was.get("preserveUnknownFields") else _preserve(spec))]


def going(obj: Object, finalizers: list[str], now: str) -> Object:
    """Return a definition as one that is being deleted: its objects go first."""
    from .status import terminating

    text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    kept = finalizers if CLEANUP in finalizers else [*finalizers, CLEANUP]
    metadata = {**obj["metadata"], "deletionTimestamp": now, "finalizers": kept}
    return {**obj, "metadata": metadata, "status": terminating(obj, True, "InstanceDeletionPending", text, now)}


def condition(obj: Object, kind: str) -> str:
    """Return the status of a condition, "" where there is none."""
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((c.get("status", "") for c in found if c.get("type") == kind), "")


def _at(spec: Object, place: tuple[str, ...]) -> object:
    value: object = spec
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _unchanged(spec: Object, was: Object) -> AbstractSet[str]:
    """Return the versions whose schema is what it was."""
    before = {version.get("name"): version.get("schema") for version in was.get("versions") or ()}
    versions = spec.get("versions") or ()
    return {name for version in versions if (name := version.get("name")) in before and version.get("schema") == before[name]}


def _spec(spec: Object, unchanged: AbstractSet[str] = frozenset()) -> Iterator[FieldError]:
    group = spec.get("group", "")
    if not group:
        yield required(SPEC / "group")
    elif complaint := names.subdomain(group):
        yield invalid(SPEC / "group", group, complaint)
    elif "." not in group:
        yield invalid(SPEC / "group", group, "should be a domain with at least one dot")
    scope = spec.get("scope", "")
    if not scope:
        yield required(SPEC / "scope")
    elif scope not in ("Cluster", "Namespaced"):
        yield not_supported(SPEC / "scope", scope, ("Cluster", "Namespaced"))
    versions: Sequence[Object] = spec.get("versions") or ()
    if spec.get("preserveUnknownFields") and any(shape.has_defaults((v.get("schema") or {}).get("openAPIV3Schema")) for v in versions):
        yield invalid(SPEC / "preserveUnknownFields", True, "must be false in order to use defaults in the schema")
    for index, version in enumerate(versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            yield required((SPEC / "versions").at(index) / "schema" / "openAPIV3Schema")
    yield from _each(versions, unchanged)
    if any(count > 1 for count in Counter(v.get("name") for v in versions).values()):
        yield invalid(SPEC / "versions", internal.shown(versions), "must contain unique version names")
    if sum(bool(v.get("storage")) for v in versions) != 1:
        shown = internal.shown(versions) if versions else spec.get("versions")
        yield invalid(SPEC / "versions", shown, "must have exactly one version marked as storage version")
    if versions and versions[0].get("name") and (complaint := names.label_1035(versions[0]["name"])):
        yield invalid(SPEC / "version", versions[0]["name"], complaint)
    yield from _names(spec.get("names") or {}, SPEC / "names")
    for field in internal.shared(versions):
        yield from _checks(unchanged)[field](versions[0], SPEC / ("validation" if field == "schema" else field))
    conversion = spec.get("conversion") or {}
    if conversion.get("strategy", "None") != "None" and spec.get("preserveUnknownFields"):
        yield invalid(SPEC / "conversion" / "strategy", conversion["strategy"], "must be None if spec.preserveUnknownFields is true")
    yield from _conversion(conversion, SPEC / "conversion")


def _names(given: Object, path: Path) -> Iterator[FieldError]:
    for field in ("plural", "singular", "kind", "listKind"):
        if not given.get(field):
            yield required(path / field)
    for field in ("plural", "singular"):
        if given.get(field) and (complaint := names.label_1035(given[field])):
            yield invalid(path / field, given[field], complaint)
    for field in ("kind", "listKind"):
        if given.get(field) and (complaint := names.label_1035(given[field].lower())):
            yield invalid(path / field, given[field], f"may have mixed case, but should otherwise match: {complaint}")
    if given.get("kind") and given.get("kind") == given.get("listKind"):
        yield invalid(path / "listKind", given["listKind"], "kind and listKind may not be the same")
    for field in ("shortNames", "categories"):
        for index, name in enumerate(given.get(field) or ()):
            if complaint := names.label_1035(name):
                yield invalid((path / field).at(index), name, complaint)


def _version(version: Object, path: Path) -> Iterator[FieldError]:
    if complaint := names.label_1035(version.get("name", "")):
        yield invalid(path / "name", version.get("name", ""), complaint)
    warning = version.get("deprecationWarning")
    if warning is not None and not version.get("deprecated"):
        yield invalid(path / "deprecationWarning", warning, "can only be set for deprecated versions")
    elif warning is not None:
        yield from (invalid(path / "deprecationWarning", warning, complaint) for complaint in _of_warning(warning))


def _of_warning(warning: str) -> Iterator[str]:
    if len(warning.encode()) > 256:
        yield "must be <= 256 characters long"
    if not warning:
        yield "must not be an empty string"
    strange = next((i for i, letter in enumerate(warning) if not letter.isprintable()), None)
    if strange is not None:
        index = len(warning[:strange].encode())
        yield f"must only contain printable UTF-8 characters; non-printable character found at index {index}"


def _checks(unchanged: AbstractSet[str]) -> dict[str, Callable[[Object, Path], Iterator[FieldError]]]:
    """What versions may have in common is judged once, and named as upstream names it, which keeps it once."""
    return dict(zip(internal.PARTS, (functools.partial(_schema, unchanged), _subresources, _columns, _selectable), strict=True))


def _each(versions: Sequence[Object], unchanged: AbstractSet[str]) -> Iterator[FieldError]:
    """Return what is wrong with each version by itself."""
    common, checks = internal.shared(versions), _checks(unchanged)
    for index, version in enumerate(versions):
        path = (SPEC / "versions").at(index)
        yield from _version(version, path)
        for field, check in checks.items():
            if field not in common:
                yield from check(version, path / field)


def _schema(unchanged: AbstractSet[str], version: Object, path: Path) -> Iterator[FieldError]:
    schema, where = (version.get("schema") or {}).get("openAPIV3Schema"), path / "openAPIV3Schema"
    if not isinstance(schema, dict):
        return
    if (version.get("subresources") or {}).get("status") is not None and schema.get("type") != "object":
        detail = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield invalid(where / "type", schema.get("type", ""), detail)
    if schema.get("nullable"):
        yield forbidden(where / "nullable", "nullable cannot be true at the root")
    yield from structural.check(schema, where, lenient=version.get("name") in unchanged)


def _subresources(version: Object, path: Path) -> Iterator[FieldError]:
    yield from _scale((version.get("subresources") or {}).get("scale"), path)


def _columns(version: Object, path: Path) -> Iterator[FieldError]:
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column(column, path.at(index))


def _from_dot(text: str, path: Path) -> Iterator[FieldError]:
    if not text.startswith("."):
        yield invalid(path, text, "must be a simple json path starting with .")


def _simple_path(text: str, path: Path) -> Iterator[FieldError]:
    if wrong := list(_from_dot(text, path)):
        yield from wrong
        return
    try:
        columns.path(text)
    except ValueError:
        yield invalid(path, text, "must be a json path in the dot notation")


_SCALE_PATHS = {"specReplicasPath": (".spec.",), "statusReplicasPath": (".status.",), "labelSelectorPath": (".spec.", ".status.")}


def _scale(scale: Object | None, path: Path) -> Iterator[FieldError]:
    if scale is None:
        return
    for field, under in _SCALE_PATHS.items():
        text, where = scale.get(field) or "", path / f"scale.{field}"
        if not text:
            if field != "labelSelectorPath":
                yield required(where)
            continue
        wrong = list(_simple_path(text, where))
        yield from wrong
        if not wrong and not text.startswith(under):
            said = f"under {under[0].rstrip('.')}" if len(under) == 1 else "under either .spec or .status"
            yield invalid(where, text, f"should be a json path {said}")


def _column(column: Object, path: Path) -> Iterator[FieldError]:
    if not column.get("name"):
        yield required(path / "name")
    if not column.get("type"):
        yield required(path / "type", f"must be one of {','.join(COLUMN_TYPES)}")
    elif column["type"] not in COLUMN_TYPES:
        yield invalid(path / "type", column["type"], f"must be one of {','.join(COLUMN_TYPES)}")
    if column.get("format") and column["format"] not in COLUMN_FORMATS:
        yield invalid(path / "format", column["format"], f"must be one of {','.join(COLUMN_FORMATS)}")
    if not column.get("jsonPath"):
        yield required(path / "JSONPath")
    else:
        yield from _from_dot(column["jsonPath"], path / "JSONPath")


def _selectable(version: Object, path: Path) -> Iterator[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    seen: set[str] = set()
    for index, field in enumerate(version.get("selectableFields") or ()):
        where, text = path.at(index) / "jsonPath", field.get("jsonPath", "")
        if not text:
            yield required(where)
            continue
        found = structural.names_field(text, schema or {}) if "[" not in text else None
        if found is None:
            yield invalid(where, text, "is an invalid path: does not refer to a valid field")
            continue
        if text.split(".")[1] == "metadata":
            yield invalid(where, text, "must not point to fields in metadata")
        if found.get("type") not in ("string", "boolean", "integer"):
            detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield invalid(where, text, detail)
        if text in seen:
            yield duplicate(where, text)
        seen.add(text)
    if len(seen) > SELECTABLE_MOST:
        yield FieldError("FieldValueTooMany", path, f"Too many: {len(seen)}: must have at most {SELECTABLE_MOST} items")


def _conversion(conversion: Object, path: Path) -> Iterator[FieldError]:
    strategy, webhook = conversion.get("strategy", ""), conversion.get("webhook")
    if strategy not in ("None", "Webhook"):
        yield not_supported(path / "strategy", strategy, ("None", "Webhook"))
    if strategy != "Webhook":
        for there, field in (("clientConfig", "webhookClientConfig"), ("conversionReviewVersions", "conversionReviewVersions")):
            if (webhook or {}).get(there):
                yield forbidden(path / field, "should not be set when strategy is not set to Webhook")
        return
    client = (webhook or {}).get("clientConfig")
    where = path / "webhookClientConfig"
    if client is None:
        yield required(where, "required when strategy is set to Webhook")
    else:
        yield from client_config(client, where)
    versions = (webhook or {}).get("conversionReviewVersions") or ()
    if not versions:
        yield required(path / "conversionReviewVersions")
    for i, version in enumerate(versions):
        complaint = "duplicate version" if version in versions[:i] else names.label_1035(version)
        if complaint:
            yield invalid((path / "conversionReviewVersions").at(i), version, complaint)
    if versions and not set(versions) & {"v1", "v1beta1"}:
        yield invalid(path / "conversionReviewVersions", list(versions), "must include at least one of v1, v1beta1")


def _stored(obj: Object) -> Iterator[FieldError]:
    path, stored = Path("status") / "storedVersions", list((obj.get("status") or {}).get("storedVersions") or ())
    if not stored:
        yield invalid(path, None, "must have at least one stored version")
        return
    left = set(stored)
    for version in (obj.get("spec") or {}).get("versions") or ():
        if version.get("storage") and version.get("name", "") not in left:
            yield invalid(path, stored, f"must have the storage version {version.get('name', '')}")
        left.discard(version.get("name", ""))
    for index, name in enumerate(stored):
        if name in left:
            detail = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a "
                f"storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            yield invalid(path.at(index), name, detail)


def approval(obj: Object) -> tuple[str, str] | None:
    """Return (state, words) for a definition in a group of Kubernetes' own, None for any other."""
    group = (obj.get("spec") or {}).get("group", "")
    if not any(group == own or group.endswith(f".{own}") for own in ("k8s.io", "kubernetes.io")):
        return None
    text = (obj["metadata"].get("annotations") or {}).get(APPROVED, "")
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not text:
        return "missing", f'protected groups must have approval annotation "{APPROVED}", {see}'
    if text.startswith("unapproved"):
        return "bypassed", f'not approved: "{text}"'
    parts = urlsplit(text)
    if parts.scheme and parts.netloc:
        return "approved", f"approved in {text}"
    form = 'with either a URL or a reason starting with "unapproved"'
    return "invalid", f'protected groups must have approval annotation "{APPROVED}" {form}, {see}'


def _approval(new: Object, old: Object | None) -> Iterator[FieldError]:
    state, before = approval(new), approval(old) if old is not None else None
    if state is None or (before is not None and before[0] == state[0]):
        return
    place = f"metadata.annotations[{APPROVED}]"
    if state[0] == "missing":
        yield required(place, state[1])
    elif state[0] == "invalid":
        yield invalid(place, new["metadata"]["annotations"][APPROVED], state[1])


def _preserve(spec: Object) -> Iterator[FieldError]:
    if spec.get("preserveUnknownFields"):
        detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid(SPEC / "preserveUnknownFields", True, detail)
