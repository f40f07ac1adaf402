"""Rules of the status of ResourceClaims: what is allocated, for whom, and what drivers say of it.

Source: upstream's pkg/apis/resource/validation and what it declares on the types.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from moorings_core.ports.objects import Object

from . import declared, devices, ips, names
from .conditions import conditions
from .device_claims import references, request_names
from .errors import FieldError, Path, forbidden, invalid, not_supported, required, too_long, too_many
from .formats import driver_name, named
from .placement import node_selector

STATUS = Path("status")
ALLOCATION = STATUS / "allocation"
RESULTS_MOST, CONFIG_MOST, CONSUMERS_MOST, CONDITIONS_MOST, IPS_MOST, DATA_MOST = 32, 64, 256, 8, 16, 10 * 1024
SOURCES = ("FromClaim", "FromClass")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NO_UUID = "must be a lowercase UUID in 8-4-4-4-12 format"
NO_INTERFACE = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
Identity = tuple[str, str, str, str]


def check_status(new: Object, old: Object) -> list[FieldError]:
    """Return what is wrong with the status of a claim that replaces another."""
    after, before = new.get("status") or {}, old.get("status") or {}
    allocation, consumers, path = after.get("allocation"), after.get("reservedFor") or [], STATUS / "reservedFor"
    found: list[FieldError] = []
    if len(consumers) <= CONSUMERS_MOST:
        found += [
            required(path.at(i) / field) for i, each in enumerate(consumers) for field in ("resource", "name", "uid") if not each.get(field)
        ]
    allocated = {_identity(result) for result in _results(allocation)}
    for i, device in enumerate(after.get("devices") or ()):
        found += _device(device, (STATUS / "devices").at(i), allocated)
    if consumers and allocation is None:
        found.append(forbidden(path, "may not be specified when `allocated` is not set"))
    elif "deletionTimestamp" in new["metadata"] and any(each not in (before.get("reservedFor") or []) for each in consumers):
        text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        found.append(forbidden(path, text))
    known = request_names((new.get("spec") or {}).get("devices") or {})
    if allocation is not None and before.get("allocation") is None:
        found += _allocation(allocation, ALLOCATION, known)
    return found + declared.late(_declared(after, before))


def _results(allocation: Object | None) -> Sequence[Object]:
    results: Sequence[Object] = ((allocation or {}).get("devices") or {}).get("results") or ()
    return results


def _identity(given: Object) -> Identity:
    driver, pool, device, share = (given.get(field) or "" for field in ("driver", "pool", "device", "shareID"))
    return driver, pool, device, share


def _allocation(allocation: Object, path: Path, known: dict[str, set[str]]) -> list[FieldError]:
    given, where = allocation.get("devices") or {}, path / "devices"
    found: list[FieldError] = []
    results, config = given.get("results") or (), given.get("config") or ()
    for i, result in enumerate(results if len(results) <= RESULTS_MOST else ()):
        place = (where / "results").at(i)
        found += references([result.get("request") or ""], place / "request", known, listed=False)
        found += named(result.get("device") or "", place / "device", names.label) + devices.conditions(result, place)
        tolerations = enumerate(result.get("tolerations") or ())
        found += [error for j, each in tolerations for error in devices.toleration(each, (place / "tolerations").at(j))]
    for i, each in enumerate(config if len(config) <= CONFIG_MOST else ()):
        place = (where / "config").at(i)
        found += references(each.get("requests") or (), place / "requests", known) + devices.configuration(each, place)
    selector = allocation.get("nodeSelector")
    return found if selector is None else found + node_selector(selector, path / "nodeSelector")


def _device(device: Object, path: Path, allocated: set[Identity]) -> list[FieldError]:
    found = driver_name(device.get("driver") or "", path / "driver") + devices.pool_name(device.get("pool") or "", path / "pool")
    found += named(device.get("device") or "", path / "device", names.label)
    if _identity(device) not in allocated:
        shown = {name: device.get(field) or "" for name, field in (("Driver", "driver"), ("Pool", "pool"), ("Device", "device"))}
        found.append(invalid(path, shown | {"ShareID": device.get("shareID") or ""}, "must be an allocated device in the claim"))
    given, data, network = device.get("conditions") or (), device.get("data"), device.get("networkData")
    if len(given) > CONDITIONS_MOST:
        found.append(too_many(path / "conditions", len(given), CONDITIONS_MOST))
    found += conditions(given, path / "conditions")
    if data is not None and not isinstance(data, dict):
        found.append(invalid(path / "data", "<value omitted>", "must be a valid JSON object"))
    elif data is not None and devices.size(data) > DATA_MOST:
        found.append(too_long(path / "data", DATA_MOST))
    addresses = (network or {}).get("ips") or ()
    where = path / "networkData" / "ips"
    return found + [e for i, text in enumerate(addresses if len(addresses) <= IPS_MOST else ()) for e in _interface(text, where.at(i))]


def _interface(text: str, path: Path) -> list[FieldError]:
    parsed = ips.network(text)
    if parsed is None:
        return [invalid(path, text, NO_INTERFACE)]
    canonical = str(ipaddress.ip_interface(text))
    return [] if canonical == text else [invalid(path, text, f'must be in canonical form ("{canonical}")')]


def _declared(after: Object, before: Object) -> list[FieldError]:
    allocation, was, consumers = after.get("allocation"), before.get("allocation"), after.get("reservedFor") or []
    found: list[FieldError] = []
    if allocation is not None and was is not None:
        found += [] if allocation == was else [invalid(ALLOCATION, None, "field cannot be modified once set")]
    elif allocation is not None:
        found += _declared_allocation(allocation.get("devices") or {}, ALLOCATION / "devices")
    path = STATUS / "reservedFor"
    found += declared.few(path, consumers, CONSUMERS_MOST) or declared.unique(path, [each.get("uid") or "" for each in consumers])
    for i, device in enumerate(after.get("devices") or ()):
        found += _share(device, (STATUS / "devices").at(i))
    return found


def _declared_allocation(given: Object, path: Path) -> list[FieldError]:
    results, config = given.get("results") or [], given.get("config") or []
    found = declared.few(path / "results", results, RESULTS_MOST)
    for i, result in enumerate(results if not found else ()):
        where = (path / "results").at(i)
        found += declared.driver_name(result.get("driver") or "", where / "driver")
        found += _pool(result.get("pool") or "", where / "pool")
        for j, each in enumerate(result.get("tolerations") or ()):
            found += devices.declared_toleration(each, (where / "tolerations").at(j))
        found += devices.declared_conditions(result, where) + _share(result, where)
    many = declared.few(path / "config", config, CONFIG_MOST)
    for i, each in enumerate(config if not many else ()):
        where, source = (path / "config").at(i), each.get("source") or ""
        if source not in SOURCES:
            many.append(not_supported(where / "source", source, SOURCES) if source else required(where / "source"))
        many += declared.unique(where / "requests", each.get("requests") or []) + devices.declared_configuration(each, where)
    return found + many


def _pool(name: str, path: Path) -> list[FieldError]:
    if not name:
        return [required(path)]
    found = [too_long(path, devices.POOL_MOST)] if len(name) > devices.POOL_MOST else []
    for i, part in enumerate(name.split("/")):
        complaint = names.subdomain(part) if part else "must not be empty"
        found += [invalid(path, part or name, f"segment {i}: {complaint}")] if complaint else []
    return found


def _share(given: Object, path: Path) -> list[FieldError]:
    share = given.get("shareID")
    return [] if share is None or UUID.fullmatch(share) else [invalid(path / "shareID", share, NO_UUID)]
