"""Bodies of writes: whether they are objects of their kind, and what is said where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from moorings_core.ports.errors import ApiError, BadRequest
from moorings_core.ports.objects import Object, Resource
from moorings_core.registry import forms
from moorings_core.registry.custom.kind import CustomVersion
from moorings_core.registry.kinds import Kind, Subresource
from moorings_core.registry.schema import check_types, named
from moorings_core.registry.validation import FieldError, to_invalid
from moorings_core.registry.validation.errors import invalid

from .context import Context


def about(obj: Object, resource: Resource) -> str:
    """Return how an answer begins that says why a body is no object of a kind."""
    version = str(obj["apiVersion"]).rpartition("/")[2]
    return f'{obj["kind"]} in version "{version}" cannot be handled as a {resource.kind}'


def checked(obj: Object, subresource: Subresource) -> Object:
    """Return the body of a subresource. Raises BadRequest where it has values of wrong types."""
    group = subresource.group.partition(".")[0] or "core"
    check_types_of(obj, f"api.{group}.{subresource.version}.{subresource.kind}")
    return obj


def check_types_of(obj: Object, definition: str) -> None:
    """Refuse values of wrong types in what is no stored object: a subresource's body, options. Raises BadRequest.

    definition: upstream's name, "api.policy.v1.Eviction".
    """
    wrong = check_types(obj, named(f"io.k8s.{definition}"))
    if wrong:
        version, kind = definition.split(".")[-2:]
        raise BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {wrong[0][1]}')


def complain(unknown: list[str], who: str, context: Context) -> None:
    """Refuse unknown and doubled fields, or warn of them, as the request asks. Raises BadRequest."""
    texts = [f'unknown field "{path}"' for path in unknown] + context.duplicates
    context.duplicates = []
    if context.options.field_validation == "Strict":
        raise BadRequest(f"{who}: strict decoding error: {', '.join(texts)}")
    if context.options.field_validation == "Warn":
        context.warnings.extend(texts)


def match_custom(resource: Resource, obj: Object) -> None:
    """Refuse a body of another kind in the words that custom kinds have for it. Raises BadRequest, Invalid."""
    if obj["apiVersion"] != resource.api_version:
        text = f"the API version in the data ({obj['apiVersion']}) does not match the expected API version ({resource.api_version})"
        raise BadRequest(text)
    if obj["kind"] != resource.kind:
        name = (obj.get("metadata") or {}).get("name", "")
        raise to_invalid(replace(resource, kind=obj["kind"]), name, [invalid("kind", obj["kind"], f"must be {resource.kind}")])


def prepare_custom(custom: CustomVersion, resource: Resource, obj: Object, context: Context, *, partial: bool) -> None:
    """Make a body an object of a custom kind; partial: it is an applied configuration. Raises ApiError, BadRequest."""
    wrong, unknown = custom.decode(obj, fill=not partial)
    if wrong:
        raise BadRequest(f"{about(obj, resource)}: {wrong[0]}")
    if partial:
        strange = [f".{path}: field not declared in schema" for path in unknown if not path.startswith("metadata.")]
        if strange:
            metadata = obj["metadata"]
            place = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {resource.api_version}, Kind={resource.kind}"
            listed = strange[0] if len(strange) == 1 else "errors:\n" + "\n".join(f"  {text}" for text in strange)
            raise ApiError(f"failed to create typed patch object ({place}): {listed}", reason="")
    elif unknown or context.duplicates:
        complain(unknown, about(obj, resource), context)


def judged(
    kind: Kind, new: Object, old: Object | None, context: Context, wrong: Sequence[FieldError] = (), subresource: str = ""
) -> list[FieldError]:
    """Return what is wrong with an object of a custom kind by its schema and rules; wrong: what is known already."""
    if kind.custom is None:
        return []
    found, warnings = kind.custom.validate(new, old, subresource, wrong)
    context.warnings.extend(warnings)
    return found


def to_store(kind: Kind, obj: Object, kept: Object | None = None) -> Object:
    """Return an object as it is stored: in one version, whichever it was written in; kept: its content in that version."""
    if kept is not None:
        return {**kept, "metadata": forms.kept(obj)["metadata"]}
    return forms.kept(obj) if kind.custom is None else {**obj, "apiVersion": kind.custom.stored_version}
