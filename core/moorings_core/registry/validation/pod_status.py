"""Rules of what a node says of a pod. Source: upstream's ValidatePodStatusUpdate."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import ips, names
from .errors import FieldError, Path, duplicate, forbidden, invalid, not_supported, required, too_long
from .formats import named, qualified
from .pod_transitions import check_transitions
from .service_addresses import family_of

STATUS = Path("status")
OWN_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
HEALTH, HEALTH_WORDS_MOST = ("Healthy", "Unhealthy", "Unknown"), 1024
INT32_MOST, UINT32_MOST = 2147483647, 4294967295
ONE_EACH = "may specify no more than one IP for each IP family"
NO_CLAIM = (
    "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request "
    "is set or 'claim:<claimName>' when it is empty"
)
NO_REQUEST = (
    "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"
)
LISTS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def check_status(new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with the status of a pod that replaces another."""
    status, before, spec = new.get("status") or {}, old.get("status") or {}, new.get("spec") or {}
    found = _conditions(status.get("conditions") or (), STATUS / "conditions")
    found += _nominated(status.get("nominatedNodeName") or "", before.get("nominatedNodeName") or "", old)
    if (status.get("observedGeneration") or 0) < 0:
        found.append(invalid(STATUS / "observedGeneration", status["observedGeneration"], "must be a non-negative integer"))
    if (status.get("qosClass") or "") != (before.get("qosClass") or ""):
        found.append(invalid(STATUS / "qosClass", status.get("qosClass") or "", "field is immutable"))
    found += check_transitions(status, before, old.get("spec") or {}, STATUS)
    found += _claims(status.get("resourceClaimStatuses") or (), spec.get("resourceClaims") or ())
    if status.get("extendedResourceClaimStatus") is not None:
        found += _extended(status["extendedResourceClaimStatus"], spec, STATUS / "extendedResourceClaimStatus")
    found += _pod_ips(status) + _host_ips(status)
    for field in LISTS:
        found += _users(status.get(field) or (), STATUS / field, spec)
    for field, of in zip(LISTS[:2], ("containers", "initContainers"), strict=True):
        found += _allocated(status.get(field) or (), STATUS / field, spec.get(of) or (), status)
    for i, each in enumerate(status.get(LISTS[2]) or ()):
        if each.get("allocatedResourcesStatus"):
            where = (STATUS / LISTS[2]).at(i) / "allocatedResourcesStatus"
            found.append(forbidden(where, "must not be specified in container status"))
    return found


def _conditions(given: Sequence[Object], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for i, condition in enumerate(given):
        generation = condition.get("observedGeneration") or 0
        if generation < 0:
            found.append(invalid(path.at(i) / "observedGeneration", generation, "must be a non-negative integer"))
        if condition.get("type") not in OWN_CONDITIONS:
            found += qualified(condition.get("type") or "", path.at(i) / "Type")
    return found


def _nominated(name: str, before: str, old: Object) -> list[FieldError]:
    if not name or name == before:
        return []
    found = named(name, STATUS / "nominatedNodeName", names.subdomain)
    if (old.get("spec") or {}).get("nodeName"):
        found.append(forbidden(STATUS / "nominatedNodeName", "may not be set on pods that are already bound to a node"))
    return found


def _claims(given: Sequence[Object], asked: Sequence[Object]) -> list[FieldError]:
    path, known, found = STATUS / "resourceClaimStatuses", [claim.get("name") for claim in asked], list[FieldError]()
    seen: set[str] = set()
    for i, status in enumerate(given):
        name, where = status.get("name") or "", path.at(i)
        if name not in known:
            found.append(invalid(where / "name", name, "must match the name of an entry in `spec.resourceClaims`"))
        if name in seen:
            found.append(duplicate(where / "name", name))
        seen.add(name)
        found += named(status.get("resourceClaimName"), where / "resourceClaimName", names.subdomain)
    return found


def _extended(given: Object, spec: Object, path: Path) -> list[FieldError]:
    containers = {c.get("name"): c for field in ("initContainers", "containers") for c in spec.get(field) or ()}
    mappings, seen, where = given.get("requestMappings") or (), set[tuple[str, ...]](), path / "requestMappings"
    found = [] if mappings else [required(where, "at least one request mapping is required")]
    for i, mapping in enumerate(mappings):
        container, resource, request = (mapping.get(f) or "" for f in ("containerName", "resourceName", "requestName"))
        if container not in containers:
            text = "must match the name of an entry in spec.initContainers.name or spec.containers.name"
            found.append(invalid(where.at(i) / "containerName", container, text))
        elif resource not in ((containers[container].get("resources") or {}).get("requests") or {}):
            found.append(invalid(where.at(i) / "resourceName", resource, NO_REQUEST))
        found += named(request, path / "requestName", names.label)
        key = (container, resource, request)
        if key in seen:
            fields = ("containerName", "resourceName", "requestName")
            found += [duplicate(where.at(i) / field, value) for field, value in zip(fields, key, strict=True)]
        seen.add(key)
    claim = given.get("resourceClaimName") or ""
    return found + (named(claim, path / "resourceClaimName", names.subdomain) if claim else [required(path / "resourceClaimName")])


def _pod_ips(status: Object) -> list[FieldError]:
    path, first = STATUS / "podIPs", status.get("podIP") or ""
    given: list[str] = [each.get("ip") or "" for each in status.get("podIPs") or ()]
    found = [error for i, text in enumerate(given) for error in ips.address(text, path.at(i))]
    found += _families(given, path, status.get("podIPs"))
    if bool(first) != bool(given):
        found.append(invalid(path, status.get("podIPs"), "podIP and podIPs must either both be set or both be unset"))
    elif given and first != given[0]:
        found.append(invalid(path.at(0) / "ip", given[0], "must be equal to `podIP`"))
    return found


def _host_ips(status: Object) -> list[FieldError]:
    path = STATUS / "hostIPs"
    given: list[str] = [each.get("ip") or "" for each in status.get("hostIPs") or ()]
    if not given:
        return []
    found = [] if (status.get("hostIP") or "") == given[0] else [invalid(path.at(0) / "ip", given[0], "must be equal to `hostIP`")]
    found += [error for i, text in enumerate(given) for error in ips.address(text, path.at(i))]
    return found + _families(given, path, status.get("hostIPs"))


def _families(given: list[str], path: Path, shown: object) -> list[FieldError]:
    if len(given) < 2 or (len(given) == 2 and family_of(given[0]) != family_of(given[1])):
        return []
    return [invalid(path, shown, ONE_EACH)]


def _users(given: Sequence[Object], path: Path, spec: Object) -> list[FieldError]:
    found: list[FieldError] = []
    windows = (spec.get("os") or {}).get("name") == "windows"
    for i, status in enumerate(given):
        linux, where = (status.get("user") or {}).get("linux"), path.at(i) / "user" / "linux"
        if linux is None:
            continue
        if windows:
            found.append(forbidden(where, "cannot be set for a windows pod"))
            continue
        groups = [(where / "gid", linux.get("gid") or 0)]
        groups += [((where / "supplementalGroups").at(j), group) for j, group in enumerate(linux.get("supplementalGroups") or ())]
        for place, number, most in ((where / "uid", linux.get("uid") or 0, UINT32_MOST), *((p, n, INT32_MOST) for p, n in groups)):
            if not 0 <= number <= most:
                found.append(invalid(place, number, f"must be between 0 and {most}, inclusive"))
    return found


def _allocated(given: Sequence[Object], path: Path, containers: Sequence[Object], status: Object) -> list[FieldError]:
    found: list[FieldError] = []
    by_name = {container.get("name"): container for container in containers}
    for i, each in enumerate(given):
        container = by_name.get(each.get("name"))
        for j, allocated in enumerate(each.get("allocatedResourcesStatus") or ()):
            where, name = (path.at(i) / "allocatedResourcesStatus").at(j), allocated.get("name") or ""
            if container is not None and not _has(container, name, status):
                text = NO_CLAIM if name.startswith("claim:") else "must match one of the container's resource requests"
                found.append(invalid(where / "name", name, text))
            found += _health(allocated.get("resources") or (), where / "resources")
    return found


def _has(container: Object, name: str, status: Object) -> bool:
    """Whether a container asks for what goes by a name: a resource, or a request of a claim."""
    resources = container.get("resources") or {}
    if not name.startswith("claim:"):
        return name in (resources.get("requests") or {})
    claims = (f"claim:{c.get('name', '')}" + (f"/{c['request']}" if c.get("request") else "") for c in resources.get("claims") or ())
    extended = status.get("extendedResourceClaimStatus") or {}
    mapped = (
        f"claim:{extended.get('resourceClaimName')}/{mapping.get('requestName')}"
        for mapping in extended.get("requestMappings") or ()
        if mapping.get("containerName") == container.get("name") and mapping.get("resourceName") in (resources.get("requests") or {})
    )
    return name in (*claims, *mapped)


def _health(given: Sequence[Object], path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for k, each in enumerate(given):
        where, health, message, identity = path.at(k), each.get("health") or "", each.get("message"), each.get("resourceID") or ""
        if health not in HEALTH:
            found.append(not_supported(where / "health", health, HEALTH))
        if message == "":
            found.append(required(where / "message", "must be non-empty if specified"))
        elif message is not None and len(message) > HEALTH_WORDS_MOST:
            found.append(too_long(where / "message", HEALTH_WORDS_MOST))
        if identity in seen:
            found.append(duplicate(where / "resourceID", identity))
        seen.add(identity)
    return found
