"""Rules of Endpoints and EndpointSlices. Source: upstream's validateEndpointSubsets and pkg/apis/discovery/validation."""

from __future__ import annotations

from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import ips, names
from .errors import FieldError, Path, duplicate, invalid, not_supported, required, too_many
from .formats import domain_name, named, qualified
from .handlers import port as port_number
from .metadata import check_labels
from .service_addresses import family_of, is_ip
from .services import LOOPBACK, reachable

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MOST_ADDRESSES, MOST_PORTS, MOST_ENDPOINTS, MOST_HINTS = 100, 20000, 1000, 8
IMMUTABLE = "field is immutable"


def _of_server(obj: Object) -> bool:
    """Whether this says where the API server is: on loopback, where it serves one machine alone; upstream's does not start there."""
    return (obj["metadata"].get("namespace"), obj["metadata"].get("name")) == ("default", "kubernetes")


def _allowed(found: list[FieldError], obj: Object) -> list[FieldError]:
    return [error for error in found if LOOPBACK not in error.message] if _of_server(obj) else found


def _endpoints(obj: Object) -> list[FieldError]:
    found: list[FieldError] = []
    for i, subset in enumerate(obj.get("subsets") or ()):
        path, fields = Path("subsets").at(i), ("addresses", "notReadyAddresses")
        if not any(subset.get(field) for field in fields):
            found.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field in fields:
            found += [e for j, address in enumerate(subset.get(field) or ()) for e in _address(address, (path / field).at(j))]
        ports = subset.get("ports") or ()
        for j, port in enumerate(ports):
            found += _numbered_port(port, (path / "ports").at(j), alone=len(ports) == 1)
    return _allowed(found, obj)


def _address(address: Object, path: Path) -> list[FieldError]:
    text, where = address.get("ip", ""), path / "ip"
    good = is_ip(text)
    found = ips.address(text, where)
    if address.get("hostname"):
        found += named(address["hostname"], path / "hostname", names.label)
    found += named(address.get("nodeName"), path / "nodeName", names.subdomain)
    return found + (reachable(text, where) if good else [invalid(where, text, "must be a valid IP address")])


def _numbered_port(port: Object, path: Path, *, alone: bool) -> list[FieldError]:
    found: list[FieldError] = []
    if port.get("name"):
        found += named(port["name"], path / "name", names.label)
    elif not alone:
        found.append(required(path / "name"))
    return found + port_number(port.get("port", 0), path / "port") + _how(port, path)


def _how(port: Object, path: Path) -> list[FieldError]:
    """Return what is wrong with the protocols of a port."""
    protocol = port.get("protocol")
    found = [] if protocol else [required(path / "protocol")]
    if protocol and protocol not in PROTOCOLS:
        found.append(not_supported(path / "protocol", protocol, PROTOCOLS))
    return found + (qualified(port["appProtocol"], path / "appProtocol") if port.get("appProtocol") is not None else [])


def _slice(obj: Object) -> list[FieldError]:
    endpoints: Sequence[Object] = obj.get("endpoints") or ()
    kind, path = obj.get("addressType", ""), Path("endpoints")
    found = _ports(obj.get("ports") or (), Path("ports"))
    if len(endpoints) > MOST_ENDPOINTS:
        return [*found, too_many(path, len(endpoints), MOST_ENDPOINTS), *_declared(kind, ())]
    for i, endpoint in enumerate(endpoints):
        found += _endpoint(endpoint, kind, path.at(i))
    return _allowed(found, obj) + _declared(kind, endpoints)


def _declared(kind: str, endpoints: Sequence[Object]) -> list[FieldError]:
    """Return what upstream says of a slice after all else."""
    found = [] if kind else [required(Path("addressType"))]
    if kind and kind not in ADDRESS_TYPES:
        found.append(not_supported(Path("addressType"), kind, ADDRESS_TYPES))
    for i, endpoint in enumerate(endpoints):
        where, count = Path("endpoints").at(i) / "addresses", len(endpoint.get("addresses") or ())
        if not count:
            found.append(required(where))
        elif count > MOST_ADDRESSES:
            found.append(too_many(where, count, MOST_ADDRESSES))
    return found


def _ports(ports: Sequence[Object], path: Path) -> list[FieldError]:
    if len(ports) > MOST_PORTS:
        return [too_many(path, len(ports), MOST_PORTS)]
    found: list[FieldError] = []
    seen: set[str] = set()
    for i, port in enumerate(ports):
        name, where = port.get("name") or "", path.at(i)
        if name:
            found += named(name, where / "name", names.label)
        if name in seen:
            found.append(duplicate(where / "name", name))
        seen.add(name)
        found += _how(port, where)
    return found


def _endpoint(endpoint: Object, kind: str, path: Path) -> list[FieldError]:
    found: list[FieldError] = []
    for i, text in enumerate(endpoint.get("addresses") or ()):
        found += _of_type(text, kind, path / "addresses", i)
    found += named(endpoint.get("nodeName"), path / "nodeName", names.subdomain)
    found += check_labels(endpoint.get("deprecatedTopology") or {}, path / "deprecatedTopology")
    found += named(endpoint.get("hostname"), path / "hostname", names.label)
    hints, where = endpoint.get("hints") or {}, path / "hints"
    for field, rule in (("forZones", names.label_value), ("forNodes", names.subdomain)):
        given = hints.get(field) or ()
        if len(given) > MOST_HINTS:
            return [*found, too_many(where / field, len(given), MOST_HINTS)]
        seen: set[str] = set()
        for i, hint in enumerate(given):
            place, name = (where / field).at(i) / "name", hint.get("name", "")
            found += [duplicate(place, name)] if name in seen else []
            found += named(name, place, rule)
            seen.add(name)
    return found


def _of_type(text: str, kind: str, path: Path, index: int) -> list[FieldError]:
    if kind == "FQDN":
        return domain_name(text, path.at(index))
    if kind not in ADDRESS_TYPES:
        return []
    if wrong := ips.address(text, path.at(index)):
        return wrong
    found = [] if family_of(text) == kind else [invalid(path, text, f"must be an {kind} address")]
    return found + reachable(text, path.at(index))


def _slice_update(new: Object, old: Object) -> list[FieldError]:
    if new.get("addressType") != old.get("addressType"):
        return [invalid("addressType", None, IMMUTABLE)]
    return []


CREATE = {("", "endpoints"): _endpoints, ("discovery.k8s.io", "endpointslices"): _slice}
UPDATE = {("discovery.k8s.io", "endpointslices"): _slice_update}
