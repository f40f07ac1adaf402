"""What lists and watches may ask for together. Source: apimachinery internalversion/validation."""

from __future__ import annotations

from collections.abc import Mapping

from moorings_core.ports.objects import Resource
from moorings_core.registry.validation.errors import FieldError, forbidden, not_supported

LIST_OPTIONS = Resource("meta.k8s.io", "v1", "listoptions", "ListOptions", False)
MATCH, EXACT, NOT_OLDER, INITIAL = "resourceVersionMatch", "Exact", "NotOlderThan", "sendInitialEvents"


def list_errors(query: Mapping[str, str]) -> list[FieldError]:
    """Return what is wrong with the options of a list."""
    match, version = query.get(MATCH, ""), query.get("resourceVersion", "")
    found: list[FieldError] = []
    if match and not version:
        found.append(forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if match and query.get("continue"):
        found.append(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    if match not in ("", EXACT, NOT_OLDER):
        found.append(not_supported(MATCH, match, (EXACT, NOT_OLDER, "")))
    if match == EXACT and version == "0":
        found.append(forbidden(MATCH, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if INITIAL in query:
        found.append(forbidden(INITIAL, "sendInitialEvents is forbidden for list"))
    return found


def watch_errors(query: Mapping[str, str]) -> list[FieldError]:
    """Return what is wrong with the options of a watch."""
    match = query.get(MATCH, "")
    found: list[FieldError] = []
    if INITIAL in query and match != NOT_OLDER:
        found.append(forbidden(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    if match and INITIAL not in query:
        found.append(forbidden(MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
    if match not in ("", NOT_OLDER):
        found.append(not_supported(MATCH, match, (NOT_OLDER,)))
    if match and query.get("continue"):
        found.append(forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided"))
    return found
