"""Environment variables of a container: literal, expanded, from ConfigMaps, Secrets, fields, resources, and Service links.

Source: upstream's $(VAR) expansion ("$$" escapes) and downward API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

from moorings_core.ports.errors import MooringsError
from moorings_core.ports.objects import Object
from moorings_core.registry.quantity import parse

Lookup = Callable[[str, str], Mapping[str, str] | None]
"""lookup("ConfigMap" | "Secret", name) -> its data as text, or None"""
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z0-9_.-]+)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class MissingSource(MooringsError):
    """A ConfigMap, Secret, key or field that a container needs is not there (CreateContainerConfigError)."""


def environment(
    container: Object, pod: Object, lookup: Lookup, services: Mapping[str, str], allocatable: Mapping[str, str]
) -> dict[str, str]:
    """Return all variables in order: services, envFrom, env. Raises MissingSource."""
    found = dict(services)
    for source in container.get("envFrom", ()):
        found.update(_all_of(source, lookup))
    for variable in container.get("env", ()):
        value = _value(variable, container, pod, lookup, found, allocatable)
        if value is not None:
            found[variable["name"]] = value
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by the variable's value where there is one; "$$" becomes "$"."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(one, text)


def field_value(pod: Object, path: str) -> str:
    """Return what a fieldRef names. Raises MissingSource."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    match = _SUBSCRIPT.fullmatch(path)
    if match:
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": status.get("hostIP", ""),
        "status.hostIPs": ",".join(i["ip"] for i in status.get("hostIPs", ())),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": ",".join(i["ip"] for i in status.get("podIPs", ())),
    }
    if path in ("metadata.labels", "metadata.annotations"):
        values = metadata.get(path.partition(".")[2]) or {}
        return "\n".join(f'{k}="{_escaped(v)}"' for k, v in sorted(values.items()))
    if path not in simple:
        raise MissingSource(f"unsupported fieldPath: {path}")
    return str(simple[path])


def resource_value(pod: Object, container_name: str, reference: Object, allocatable: Mapping[str, str]) -> str:
    """Return what a resourceFieldRef names, in units of its divisor, rounded up; a missing limit is the node's capacity."""
    containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    name = reference.get("containerName") or container_name
    container = next((c for c in containers if c["name"] == name), None)
    if container is None:
        raise MissingSource(f"container {name} not found")
    kind, _, resource = reference["resource"].partition(".")
    amounts = container.get("resources", {}).get(kind, {})
    amount = amounts.get(resource)
    if amount is None:
        amount = allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = str(reference.get("divisor") or "1")
    value: Fraction = parse(str(amount)) / (parse(divisor) or Fraction(1))
    return str(-(-value.numerator // value.denominator))


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """Return the variables that tell of Services: NAME_SERVICE_HOST, NAME_SERVICE_PORT and the older link forms."""
    found: dict[str, str] = {}
    for service in services:
        address, ports = service["spec"].get("clusterIP"), service["spec"].get("ports") or ()
        if not address or address == "None" or not ports:
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        found |= {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
        for port in ports:
            if port.get("name"):
                found[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        first = ports[0]
        found[f"{name}_PORT"] = f"{first['protocol'].lower()}://{address}:{first['port']}"
        for port in ports:
            prefix, protocol = f"{name}_PORT_{port['port']}_{port['protocol']}", port["protocol"].lower()
            found |= {
                prefix: f"{protocol}://{address}:{port['port']}",
                f"{prefix}_PROTO": protocol,
                f"{prefix}_PORT": str(port["port"]),
                f"{prefix}_ADDR": address,
            }
    return found


def _all_of(source: Object, lookup: Lookup) -> dict[str, str]:
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        reference = source.get(field)
        if reference is None:
            continue
        data = lookup(kind, reference["name"])
        if data is None:
            if reference.get("optional"):
                return {}
            raise MissingSource(f'{kind.lower()} "{reference["name"]}" not found')
        return {f"{source.get('prefix', '')}{k}": v for k, v in data.items()}
    return {}


def _value(
    variable: Object,
    container: Object,
    pod: Object,
    lookup: Lookup,
    found: Mapping[str, str],
    allocatable: Mapping[str, str],
) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(variable.get("value", ""), found)
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if source.get("resourceFieldRef"):
        return resource_value(pod, container["name"], source["resourceFieldRef"], allocatable)
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        reference = source.get(field)
        if reference is None:
            continue
        data = lookup(kind, reference["name"])
        if data is not None and reference["key"] in data:
            return data[reference["key"]]
        if reference.get("optional"):
            return None
        if data is None:
            raise MissingSource(f'{kind.lower()} "{reference["name"]}" not found')
        place = f"{pod['metadata']['namespace']}/{reference['name']}"
        raise MissingSource(f"couldn't find key {reference['key']} in {kind} {place}")
    return None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
